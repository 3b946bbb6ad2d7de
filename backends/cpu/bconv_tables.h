// Tables of integers that a binary convolution needs besides its weights (kernels/bconv/bconv.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "backends/cpu/conv_window.h"
#include "model/lowered.h"

namespace bitmill {

// The base of each padding class and output of one call: [classes][outputs rounded up to 8]; the
// rest is left alone. Bits outside the last channel and outside the image count as +1 in the
// kernel; the base makes up for the taps outside. `weights` is [outputs][channels][taps]; `negate`,
// per output, and `padding` may be null.
void FillBconvBase(const std::vector<int8_t>& weights, const uint8_t* negate,
                   const GroupSplit& split, const ConvWindow& window, const PaddingClasses* padding,
                   int32_t* base);

// All that a layer makes of its weights: for each call of `split` the packed weights
// (PackBconvWeights) and the base of each class (FillBconvBase; `padding` may be null). Internal
// for weights that are not -1 or 1, or 0 with two planes; errors of CallWeights.
absl::Status FillBconvFilter(const LowBitConvOp& op, const ConvWindow& window,
                             const GroupSplit& split, const PaddingClasses* padding, int32_t planes,
                             uint64_t* packed, int32_t* base);

// The limit on the count of differing bits for accumulators of at least `threshold`.
int32_t BconvLimit(int32_t base, int32_t threshold);
// For each base of [calls][classes][outputs of a call, rounded up to 8], given the thresholds of
// the layer.
std::vector<int32_t> BconvLimits(const std::vector<int32_t>& base, int64_t classes,
                                 const GroupSplit& split, const std::vector<int32_t>& thresholds);
// One value a channel as [calls][outputs of a call, rounded up to 8].
std::vector<float> PadCalls(const std::vector<float>& values, const GroupSplit& split);

// Offsets of taps of c_words words from a window's start, in words.
struct BconvTaps {
  std::vector<int32_t> words;
  int32_t c_words = 0;
};
// Those of a window, where neighbours that are adjacent in memory are one longer tap. Whole pixels
// of `in` take part, or the same words of each.
BconvTaps JoinTaps(const ConvWindow& window, const BufferLayout& in, int32_t c_words,
                   bool whole_pixels);

}  // namespace bitmill
