// The walk behind LowerQuantized, for the files that implement it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "model/graph.h"
#include "model/passes/linear.h"
#include "model/passes/quantized_view.h"
#include "model/passes/quantizer_spec.h"
#include "model/passes/weights.h"

namespace bitmill {

class QuantizedWalk {
 public:
  explicit QuantizedWalk(Graph& graph) : graph_(graph) {}
  void Run();

 private:
  void Visit(Node node);
  void VisitChain(Node node);
  void VisitQuantizer(Node node, QuantizerSpec spec);
  bool VisitMaxPool(const Node& node);
  bool VisitTranspose(const Node& node);
  void VisitConcat(const Node& node);
  bool VisitDequantizeLinear(const Node& node);
  bool VisitCast(const Node& node);
  // True when the node has been replaced.
  bool VisitLinear(const Node& node);

  // What a linear layer reads: codes, and the border of a Pad before it.
  struct CodedInput {
    ValueId codes = kNoValue;
    CodeInfo info;
    Window window;
    Padding padding = Padding::kZero;
  };
  std::optional<CodedInput> CodedInputOf(const LinearLayer& layer, const IntegerWeights& weights);
  // The same for integer operators, whose input counts in units of its own scale.
  std::optional<CodedInput> CodedInputOfInteger(const Node& node, const LinearLayer& layer);
  // Emits the convolution, with a float output.
  void EmitConv(const Node& node, const LinearLayer& layer, const IntegerWeights& weights,
                const CodedInput& input, ValueId output);
  bool FinishQLinear(const Node& node, ValueId real);

  // Codes of a float value that has a view, stored as the value's shape says (a dense layer takes
  // any shape); recovers them from the float value when need be. kNoValue when impossible.
  ValueId CodesFor(ValueId value, bool any_shape);

  // A step of a chain that, with what precedes it, leaves only few integers.
  struct IntegerStep {
    size_t first = 0, past = 0;  // steps [first, past) of the chain are the quantizer
    QuantizerSpec spec;
  };
  std::optional<IntegerStep> FindIntegerStep(const Chain& chain, const Shape& shape) const;
  bool IsBipolarSign(ValueId input) const;

  // Turns the bits in wide_readers_, and those that they are pooled from, into codes 0 and 2
  // around a zero point of 1.
  void WidenBits();

  void Keep(Node node);
  ValueId NewValue(const std::string& name, DType dtype, const Shape& shape);
  ValueId NewCodes(const std::string& name, const Shape& shape, const CodeInfo& info);
  void EmitQuantize(const Node& origin, ValueId input, const QuantizerSpec& spec, ValueId codes);
  void EmitDequantize(const Node& origin, ValueId codes, ValueId output);

  std::optional<QuantizedView>& view(ValueId id);
  const Node* ProducerOf(ValueId id) const;

  Graph& graph_;
  std::vector<Node> done_;
  std::vector<std::optional<QuantizedView>> views_;  // by value
  std::map<ValueId, size_t> producers_;              // index in done_
  std::vector<ValueId> wide_readers_;                // bits that a layer needs as codes
  std::map<ValueId, ValueId> float_behind_;  // int32 results of integer products, as exact floats
};

// {-scale, +scale} as codes of bytes, for layers whose weights no kernel multiplies with bits.
inline CodeInfo WideBits(float scale) { return {CodeKind::kUInt8, scale, 1, 3}; }

// The real input of a linear operator on integers: scale and zero point inputs, kNoValue if absent.
struct IntegerInput {
  ValueId scale = kNoValue;
  ValueId zero_point = kNoValue;
};
std::optional<IntegerInput> IntegerInputOf(const Node& node);

}  // namespace bitmill
