#include "model/passes/move_reshapes.h"

#include <algorithm>
#include <utility>

#include "model/passes/graph_edit.h"
#include "model/passes/quantized_view.h"
#include "model/passes/quantizer_spec.h"

namespace bitmill {
namespace {

bool VariesByChannel(const Chain& chain) {
  return std::any_of(chain.begin(), chain.end(), [](const ChainStep& step) {
    return step.operand.size() > 1 || step.operand2.size() > 1;
  });
}

// Whether the node does the same to every element, so that it commutes with the reshape between
// `before` and `after`. A chain a channel does when both shapes have the same channels.
bool Commutes(const Graph& graph, const Node& node, const Shape& before, const Shape& after) {
  if (const auto* op = std::get_if<ElementwiseOp>(&node.lowered)) {
    return !VariesByChannel(op->chain) || SameStorage(before, after);
  }
  if (!CanHoldCodes(before) || node.outputs.empty() ||
      graph.value(node.outputs[0]).dtype != DType::kFloat32) {
    return false;
  }
  const auto spec = QuantizerSpecOf(graph, node);
  return spec && (spec->channels == 1 || SameStorage(before, after));
}

// first, second -> second, first, in the places of the two; the value between them is new.
void Swap(Graph& graph, size_t first, size_t second) {
  Node& a = graph.nodes[first];
  Node& b = graph.nodes[second];
  Value between = graph.value(b.outputs[0]);
  // What comes first now sees the input's shape, and so gives it, unless it is the reshape.
  const bool reshape_first = KeepsOrder(graph, b);
  between.shape = graph.value(reshape_first ? b.outputs[0] : a.inputs[0]).shape;
  const ValueId source = a.inputs[0];
  const ValueId result = b.outputs[0];
  const ValueId middle = graph.AddValue(std::move(between));
  b.inputs[0] = source;
  b.outputs[0] = middle;
  a.inputs[0] = middle;
  a.outputs[0] = result;
  std::swap(a, b);
}

bool MoveOne(Graph& graph) {
  const GraphIndex index(graph);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (IsErased(node) || node.inputs.empty() || node.inputs[0] == kNoValue) continue;
    const int32_t before = index.SoleProducer(node.inputs[0]);
    if (before < 0) continue;
    const Node& first = graph.nodes[static_cast<size_t>(before)];
    if (first.inputs.empty() || first.inputs[0] == kNoValue) continue;
    const ValueId source = first.inputs[0];
    const bool computed = index.producer(source) >= 0;
    const Shape& from = graph.value(source).shape;
    const Shape& to = graph.value(node.outputs[0]).shape;
    const bool sink = computed && KeepsOrder(graph, first) && !KeepsOrder(graph, node) &&
                      graph.value(source).dtype == DType::kFloat32 &&
                      Commutes(graph, node, from, to);
    const bool raise = !computed && KeepsOrder(graph, node) &&
                       std::holds_alternative<ElementwiseOp>(first.lowered) &&
                       Commutes(graph, first, from, to);
    if (!sink && !raise) continue;
    Swap(graph, static_cast<size_t>(before), n);
    return true;
  }
  return false;
}

}  // namespace

void MoveReshapes(Graph& graph) {
  // Each move brings a reshape nearer to an end of the graph, so this ends; the bound is for a
  // graph so large that it would take long.
  constexpr int kMaxMoves = 10000;
  for (int moves = 0; moves < kMaxMoves && MoveOne(graph); ++moves) {
  }
}

}  // namespace bitmill
