// A binary convolution as a plain problem over {-1, 0, +1}, solved by the definition, and the same
// problem as arguments of a kernel.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/bconv/bconv_table.h"
#include "tests/kernels/guarded.h"

namespace bitmill::test {

enum class BconvOutput { kBits, kInt32, kFloat };
// The weights that a kernel gets beside the plain ones: none, or prepared for calls of as many
// pixels as there are or of one.
enum class BconvPrepared { kNone, kThisCall, kOnePixel };

struct BconvShape {
  int32_t batch = 1, in_h = 1, in_w = 1, channels = 1, out_channels = 1;
  int32_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int32_t pad = 0;        // pixels on each side
  int32_t pad_value = 0;  // 0, +1 or -1
  int32_t planes = 1;
  int32_t extra_words = 0;  // words of other groups beside the used ones of a pixel
  bool negate = false;      // some channels are stored negated
  bool extreme = false;     // every product is -1: weights are
  bool all_minus = false;   // activations and weights are all -1
  // Of two planes: so many of the words of 64 input channels x empty_channels outputs are empty ...
  int32_t empty_percent = 0, empty_channels = 8;
  bool full = false;  // ... and the others have no zero
  BconvOutput output = BconvOutput::kBits;

  int32_t out_h() const {
    return (in_h + 2 * pad - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
  }
  int32_t out_w() const {
    return (in_w + 2 * pad - dilation_w * (kernel_w - 1) - 1) / stride_w + 1;
  }
  int32_t taps() const { return kernel_h * kernel_w; }
  int32_t c_words() const { return (channels + 63) / 64; }
  std::string ToString() const;
};

class BconvCase {
 public:
  BconvCase(const BconvShape& shape, uint32_t seed);

  // Runs `kernel` with every buffer at `flush` and returns the bytes that it left in the output,
  // gaps between pixels included (0xcd where nothing was written). With `group_channels` its
  // weights are sparse.
  std::vector<uint8_t> Run(const BconvKernel& kernel, BconvPrepared prepared, Flush flush,
                           int32_t group_channels = 0) const;
  // The same bytes from the definition, without bits, words or kernels.
  std::vector<uint8_t> Expected() const;

 private:
  int32_t Activation(int32_t n, int32_t y, int32_t x, int32_t c) const;
  int32_t Accumulator(int32_t n, int32_t y, int32_t x, int32_t o) const;
  void PruneWeights(std::mt19937& random);
  int64_t OutputBytes() const;
  int64_t OutputIndex(int32_t n, int32_t y, int32_t x) const;

  BconvShape shape_;
  std::vector<int8_t> activations_;  // [n][y][x][c]
  std::vector<int8_t> weights_;      // [o][c][taps]
  std::vector<uint8_t> negate_;      // [o]
  std::vector<uint64_t> input_, packed_;
  std::vector<int32_t> tap_words_, row_class_, col_class_, base_, limits_;
  std::vector<float> scale_, bias_;
  int32_t pixel_words_ = 0, padded_h_ = 0, padded_w_ = 0, padded_channels_ = 0;
  int64_t out_pixel_ = 0, out_row_ = 0, out_image_ = 0;  // elements
};

}  // namespace bitmill::test
