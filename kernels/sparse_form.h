// How kernels skip blocks of weights that are all zero, and when that pays.
#pragma once

#include <stdint.h>

#include <functional>
#include <string>

namespace bitmill {

// Groups of `group_channels` output channels share a list of the blocks that are not empty: a word
// of 64 input channels (kernels/bconv), or a unit of 4 to 32 of them (kernels/qconv). Density is
// listed blocks / all blocks. Below its break-even density the form is faster than the same kernel
// on the same weights stored densely; its time is about density / break-even of dense.
struct SparseForm {
  int32_t group_channels;
  double break_even;             // of many pixels a call (a convolution, or many rows)
  double break_even_few_pixels;  // of up to kFewPixels, or a matrix times a vector
};

inline constexpr int64_t kFewPixels = 24;

struct SparseForms {
  const SparseForm* forms = nullptr;
  int count = 0;

  const SparseForm* begin() const { return forms; }
  const SparseForm* end() const { return forms + count; }
};

struct SparseChoice {
  int32_t group_channels = 0;  // 0: dense
  double density = 1.0;

  std::string Text() const;  // " sparse 23 %", or nothing
};

// The form that is expected to take the least time for weights of which `density` says what each
// form would list; dense where none is faster. `few_pixels`: calls may have kFewPixels or less.
SparseChoice ChooseSparseForm(const SparseForms& forms, bool few_pixels,
                              const std::function<double(int32_t group_channels)>& density);

}  // namespace bitmill
