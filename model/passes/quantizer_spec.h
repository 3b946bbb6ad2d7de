// What a quantizing node does, as thresholds on its input.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/graph.h"

namespace bitmill {

// code = number of thresholds t with x >= t (of the element's channel); for bits: +1 from the one
// threshold on. Ascending; NaN (never reached) comes last.
struct QuantizerSpec {
  Quantizer quantizer;            // `code` is how the result is to be read
  int64_t channels = 1;           // 1, or one row of thresholds a channel
  std::vector<float> thresholds;  // [channels][levels - 1]
  bool uniform = false;           // `quantizer` gives the same codes up to ties

  int32_t levels() const { return quantizer.code.levels; }
  const float* row(int64_t channel) const {
    return thresholds.data() + (channels == 1 ? 0 : channel) * (levels() - 1);
  }
};

// Quant, BipolarQuant, MultiThreshold, Trunc (that clamps), Sign (as three codes) and
// QuantizeLinear (the code of the real value, scale and zero point included) with constant
// parameters, one for all channels where the code must have one meaning, and at most 256 levels.
// Nothing otherwise.
std::optional<QuantizerSpec> QuantizerSpecOf(const Graph& graph, const Node& node);

// {-scale, +scale}, +scale from 0 on.
QuantizerSpec BipolarSpec(float scale);

// Codes of integers low .. high under a rounding.
QuantizerSpec IntegerSpec(int32_t low, int32_t high, Rounding rounding);

// Recovers the codes of a value that holds nothing but scale * (code - zero_point): thresholds lie
// half-way between.
QuantizerSpec RecoverySpec(const CodeInfo& info);

}  // namespace bitmill
