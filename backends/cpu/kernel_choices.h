// How layers are computed where there is more than one way, and what was measured about it.
//
// The plan builder has a usual way for every layer, found by rules over its shape. Measuring
// (backends/cpu/tune.h) may find another one faster on this machine. Whatever is chosen, the
// outputs are the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "kernels/isa.h"
#include "kernels/sparse_form.h"

namespace bitmill {

// What differs from the usual way; the default is the usual way.
struct LayerChoice {
  static constexpr int32_t kByDensity = -1;
  static constexpr int32_t kMinBlockShift = -2, kMaxBlockShift = 4;

  std::string kernel =
      "";                // of the kernel table; empty: the best one that the instruction set allows
  bool prepared = true;  // whether the kernel may prepare the weights: tables for lookups
  int32_t sparse_channels = kByDensity;  // outputs that share a list of blocks; 0: dense
  int32_t block_shift = 0;               // blocks of 2^block_shift times the usual bytes

  bool operator==(const LayerChoice&) const = default;
  // "bconv_avx2, dense, blocks x 2"
  std::string Text() const;
};

// Of a step of the plan.
struct MeasuredStep {
  double micros = 0.0;  // of one row, the fastest run
  double gain = 1.0;    // time of the usual way / time of the chosen way
};

struct KernelChoices {
  std::map<int32_t, LayerChoice> layers;  // by node of the lowered graph; others the usual way
  std::vector<MeasuredStep> steps;        // all of the plan; empty: nothing was measured

  bool measured() const { return !steps.empty(); }
};

// Of a table of kernels (BconvKernels, QconvKernels) the one that is called `name`, `usual` when
// `name` is empty; null when there is none or the instruction set lacks what it needs.
template <typename Kernel>
const Kernel* FindKernel(const Kernel* (*table)(int* count), absl::string_view name, Isa allowed,
                         const Kernel* usual) {
  if (name.empty()) return usual;
  int count = 0;
  const Kernel* const kernels = table(&count);
  for (int i = 0; i < count; ++i) {
    if (kernels[i].name == name && IsaAllows(allowed, kernels[i].isa)) return &kernels[i];
  }
  return nullptr;
}

// The form of the weights for a choice of `sparse_channels`: as ChooseSparseForm, dense, or the
// form of so many outputs, if the kernel has it, with its density.
SparseChoice FormOf(int32_t sparse_channels, const SparseForms& forms, bool few_pixels,
                    const std::function<double(int32_t group_channels)>& density);

// Another form that is worth measuring: dense instead of sparse, or a sparse one whose density is
// not far above its break-even. kByDensity when there is none.
int32_t OtherSparseForm(const SparseChoice& taken, const SparseForms& forms, bool few_pixels,
                        const std::function<double(int32_t group_channels)>& density);

}  // namespace bitmill
