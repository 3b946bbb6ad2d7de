// Finds the integers behind float weights.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace bitmill {

// weights[o][k] = scale[o] * values[o][k] within half a unit in the last place of a float, which is
// what a product of an integer and a float scale is rounded to.
struct IntegerWeights {
  std::vector<int8_t> values;
  std::vector<float> scale;  // one an output channel, may be negative, never zero
  int bits = 1;              // 1: {-1, +1}; 2: {-2 .. 1}; 4: {-8 .. 7}; 8
  bool ternary = false;      // bits == 2 and no -2
};

// The fewest bits that hold the weights, `channels` rows of equal length; nothing when a row is not
// integers of 8 bits times a scale. A row's scale is the largest that works.
std::optional<IntegerWeights> FindIntegerWeights(absl::Span<const float> weights, int64_t channels);

}  // namespace bitmill
