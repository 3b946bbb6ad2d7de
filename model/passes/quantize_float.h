// Float layers of a lowered graph as integer convolutions: what `precision: fast` is made of.
//
//   float layer(x)  ->  QuantizeOp(x), LowBitConvOp with 8-bit weights, float epilogue
//
// Weights: one symmetric scale an output channel, -127 .. 127. Activations: one scale a tensor and
// a zero point, so that 0.0 is a code and padding stays exact; kFastLevels codes, because two
// products of a 7-bit code and an 8-bit weight always fit 16 bits, which is twice as fast as 8 bits
// on CPUs without VNNI and still exact (docs/decisions/0008-precision-fast.md). The layer's bias
// and chain follow in float, one rounding an operation: the same bits on every instruction set.
//
// Error of one output: at most, with s the activations' scale, t the channel's weight scale and K
// products of weights w and codes q that do not saturate,
//   sum |w| * s / 2  +  sum |x| * t / 2  +  K * s * t / 4  (+ float rounding).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"

namespace bitmill {

inline constexpr int32_t kFastLevels = 128;

// What an activation takes; values outside saturate. Finite, low <= 0 <= high, low < high.
struct ActivationRange {
  float low = 0.0F, high = 0.0F;
};

// Whether it is so, and its codes have a scale that a float can hold.
bool IsUsable(const ActivationRange& range);

// Codes for a range; the zero point is one of them.
CodeInfo CodesOf(const ActivationRange& range, int32_t levels = kFastLevels);

// A float layer (FloatConvOp, FloatDenseOp) of a lowered graph.
struct FloatLayer {
  size_t node = 0;
  ValueId input = kNoValue, output = kNoValue;
  int64_t macs = 0;
  std::string refusal;  // why it must stay float, whatever its input; empty: it can be int8
};

// All float layers in execution order. They stay float where int8 would not be faster (few
// products an input element; groups of few channels), where weights are not finite, or where the
// sums could leave 32 bits.
std::vector<FloatLayer> FindFloatLayers(const Graph& lowered);

// Ranges of the inputs of layers, by the layers' outputs.
using LayerRanges = std::map<ValueId, ActivationRange>;

// Replaces the layers that `ranges` names and that have no refusal; those that read one value with
// one range share a QuantizeOp. Other layers stay. Values keep their numbers; new ones come behind.
// Internal when a range is not as ActivationRange says.
absl::StatusOr<Graph> QuantizeFloatLayers(const Graph& lowered, const LayerRanges& ranges);

// Lets quantizers that now stand behind an integer convolution become its epilogue: the float
// tensor between two int8 layers goes. Values are numbered anew.
absl::Status FuseFastLayers(Graph& graph);

// The value that holds the int8 twin of layer `layer`'s output, added to the graph beside the float
// layer: for measuring one against the other.
absl::StatusOr<ValueId> AddInt8Twin(Graph& graph, const FloatLayer& layer,
                                    const ActivationRange& range);

}  // namespace bitmill
