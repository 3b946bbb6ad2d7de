#include "model/passes/narrow_inputs.h"

#include <utility>
#include <vector>

#include "model/passes/graph_edit.h"

namespace bitmill {
namespace {

bool IsReshape(const Node& node) {
  return IsOp(node, "Reshape") || IsOp(node, "Flatten") || IsOp(node, "Squeeze") ||
         IsOp(node, "Unsqueeze");
}

class Narrower {
 public:
  explicit Narrower(Graph& graph) : graph_(graph), index_(graph) {}

  void Run() {
    std::vector<Node> nodes;
    for (const Node& node : graph_.nodes) {
      Node copy = node;
      const auto* op = std::get_if<QuantizeOp>(&node.lowered);
      if (op != nullptr && op->chain.empty() && !op->bit_thresholds.empty()) {
        const ValueId narrow = NarrowOf(node.inputs[0], nodes);
        if (narrow != kNoValue) copy.inputs[0] = narrow;
      }
      nodes.push_back(std::move(copy));
    }
    graph_.nodes = std::move(nodes);
  }

 private:
  // The value whose Cast, by way of reshapes, `id` is, in the shape of `id`; kNoValue when it is
  // none. Reshapes of the narrow value go to the end of `nodes`.
  ValueId NarrowOf(ValueId id, std::vector<Node>& nodes) {
    const int32_t producer = index_.producer(id);
    if (producer < 0) return kNoValue;
    const Node& node = graph_.nodes[static_cast<size_t>(producer)];
    if (IsOp(node, "Cast")) {
      const Value& source = graph_.value(node.inputs[0]);
      return IsNarrowNumber(source.dtype) && source.code.kind == CodeKind::kNone ? node.inputs[0]
                                                                                 : kNoValue;
    }
    if (!IsReshape(node)) return kNoValue;
    const ValueId source = NarrowOf(node.inputs[0], nodes);
    if (source == kNoValue) return kNoValue;
    Value value = graph_.value(id);
    value.name += "/narrow";
    value.dtype = graph_.value(source).dtype;
    Node reshape = node;
    reshape.inputs[0] = source;
    reshape.outputs = {graph_.AddValue(std::move(value))};
    nodes.push_back(std::move(reshape));
    return nodes.back().outputs[0];
  }

  Graph& graph_;
  const GraphIndex index_;
};

}  // namespace

bool IsNarrowNumber(DType dtype) {
  return dtype == DType::kInt8 || dtype == DType::kUInt8 || dtype == DType::kFloat16 ||
         dtype == DType::kBFloat16;
}

void ReadNarrowInputs(Graph& graph) { Narrower(graph).Run(); }

}  // namespace bitmill
