#include "model/passes/sign_margin.h"

#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "model/passes/lowered_reference.h"

namespace bitmill {
namespace {

bool HasThresholds(const Node& node) {
  const auto* const conv = std::get_if<LowBitConvOp>(&node.lowered);
  return conv != nullptr && conv->epilogue == LowBitConvOp::Epilogue::kThresholds;
}

// The same layer, with its sums as floats: exact, since they are far below 2^24 in any network
// whose thresholds matter, and rounded to even beyond.
LowBitConvOp PlainSums(const LowBitConvOp& op) {
  LowBitConvOp plain = op;
  const auto outputs = static_cast<size_t>(op.weights->shape()[0]);
  plain.epilogue = LowBitConvOp::Epilogue::kFloat;
  plain.scale.assign(outputs, 1.0F);
  plain.bias.assign(outputs, 0.0F);
  plain.chain.clear();
  plain.thresholds.clear();
  plain.flip.clear();
  return plain;
}

void CountLayer(const LowBitConvOp& op, int32_t count, const Tensor& sums, MarginCounts& counts) {
  const int64_t outputs = op.weights->shape()[0];
  const int64_t pixels = sums.elements() / outputs;
  const int64_t steps = static_cast<int64_t>(op.thresholds.size()) / outputs;
  for (int64_t i = 0; i < sums.elements(); ++i) {
    const int64_t o = i / pixels;
    const auto sum = static_cast<int64_t>(sums.span<float>()[static_cast<size_t>(i)]);
    const int64_t value = !op.flip.empty() && op.flip[static_cast<size_t>(o)] != 0 ? -sum : sum;
    for (int64_t s = 0; s < steps; ++s) {
      const int32_t threshold = op.thresholds[static_cast<size_t>(o * steps + s)];
      if (threshold == std::numeric_limits<int32_t>::max() ||
          threshold == std::numeric_limits<int32_t>::min()) {
        continue;
      }
      ++counts.thresholds;
      const bool reached = value >= threshold;
      const bool flips = reached ? value - count < threshold : value + count >= threshold;
      counts.near += flips ? 1 : 0;
    }
  }
}

}  // namespace

SignMarginProbe::SignMarginProbe(Graph lowered) {
  std::vector<Node> nodes = std::move(lowered.nodes);
  lowered.nodes.clear();
  graph_ = std::move(lowered);
  for (Node& node : nodes) {
    if (!HasThresholds(node)) {
      graph_.nodes.push_back(std::move(node));
      continue;
    }
    const auto& conv = std::get<LowBitConvOp>(node.lowered);
    const bool bits = graph_.value(node.inputs[0]).code.kind == CodeKind::kBits;
    Value sums;
    sums.name = graph_.value(node.outputs[0]).name + ":sums";
    sums.dtype = DType::kFloat32;
    sums.shape = graph_.value(node.outputs[0]).shape;
    graph_.values.push_back(std::move(sums));
    const auto id = static_cast<ValueId>(graph_.values.size() - 1);
    Node beside = node;
    beside.lowered = PlainSums(conv);
    beside.outputs = {id};
    probes_.push_back({graph_.nodes.size(), id, bits && conv.weight_bits == 1 ? 2 : 1});
    graph_.nodes.push_back(std::move(node));
    graph_.nodes.push_back(std::move(beside));
  }
}

absl::StatusOr<MarginCounts> SignMarginProbe::Count(absl::Span<const TensorView> inputs) const {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<Tensor> values, RunLoweredValues(graph_, inputs));
  MarginCounts counts;
  for (const Probe& probe : probes_) {
    CountLayer(std::get<LowBitConvOp>(graph_.nodes[probe.node].lowered), probe.count,
               values[static_cast<size_t>(probe.sums)], counts);
  }
  return counts;
}

}  // namespace bitmill
