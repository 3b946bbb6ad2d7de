#include "backends/cpu/node_order.h"

#include <algorithm>
#include <cstddef>

#include "backends/cpu/plan_values.h"

namespace bitmill {
namespace {

bool IsBitConv(const Graph& graph, const Node& node) {
  const auto* const conv = std::get_if<LowBitConvOp>(&node.lowered);
  return conv != nullptr && UsesBitKernel(*conv, graph.value(node.inputs[0]));
}

// The first node behind `n` that reads what it makes, if there is no other one; otherwise 0.
size_t SoleReader(const Graph& graph, size_t n) {
  const ValueId made = graph.nodes[n].outputs[0];
  for (const GraphPort& port : graph.outputs) {
    if (port.value == made) return 0;
  }
  size_t reader = 0;
  for (size_t i = n + 1; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const auto reads = std::count(node.inputs.begin(), node.inputs.end(), made);
    if (reads > 1 || (reads == 1 && reader != 0)) return 0;
    if (reads == 1) reader = i;
  }
  return reader;
}

}  // namespace

void ComputeBeforeSums(Graph& graph) {
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    if (!IsBitConv(graph, graph.nodes[n])) continue;
    const size_t reader = SoleReader(graph, n);
    if (reader == 0 || BinaryOpOf(graph, graph.nodes[reader]) != BinaryOp::kAdd) continue;
    const auto at = graph.nodes.begin() + static_cast<std::ptrdiff_t>(n);
    std::rotate(at, at + 1, graph.nodes.begin() + static_cast<std::ptrdiff_t>(reader));
  }
}

}  // namespace bitmill
