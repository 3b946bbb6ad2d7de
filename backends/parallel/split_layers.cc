#include "backends/parallel/split_layers.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "backends/coded_port.h"

namespace bitmill {
namespace {

constexpr int64_t kBitsUnit = 64, kUnit = 16;

// Output channels of a layer that can be split by them; 0 for other nodes.
int64_t Outputs(const Node& node) {
  SharedTensor weights;
  if (const auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
    if (conv->groups == 1) weights = conv->weights;
  } else if (const auto* dense = std::get_if<FloatDenseOp>(&node.lowered)) {
    weights = dense->weights;
  }
  return weights == nullptr || weights->shape().empty() ? 0 : weights->shape()[0];
}

int64_t UnitOf(const Value& output) {
  return output.code.kind == CodeKind::kBits ? kBitsUnit : kUnit;
}

// Channels first .. first + count - 1 of a list that has `each` entries a channel. Lists that are
// empty, or one entry for all channels, stay.
template <typename T>
void Keep(std::vector<T>& list, int64_t outputs, int64_t first, int64_t count, int64_t each = 1) {
  if (static_cast<int64_t>(list.size()) != outputs * each) return;
  list.assign(list.begin() + first * each, list.begin() + (first + count) * each);
}

void KeepOfChain(Chain& chain, int64_t outputs, int64_t first, int64_t count) {
  for (ChainStep& step : chain) {
    if (step.operand.size() > 1) Keep(step.operand, outputs, first, count);
    if (step.operand2.size() > 1) Keep(step.operand2, outputs, first, count);
  }
}

SharedTensor RowsOf(const Tensor& weights, int64_t first, int64_t count) {
  Shape shape = weights.shape();
  const int64_t row_bytes = weights.bytes() / shape[0];
  shape[0] = count;
  auto rows = std::make_shared<Tensor>(*Tensor::Create(weights.dtype(), shape));
  std::memcpy(rows->data(), static_cast<const std::byte*>(weights.data()) + first * row_bytes,
              static_cast<size_t>(count * row_bytes));
  return rows;
}

void KeepOutputs(Node& node, const Value& output, int64_t outputs, int64_t first, int64_t count) {
  if (auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
    conv->weights = RowsOf(*conv->weights, first, count);
    Keep(conv->scale, outputs, first, count);
    Keep(conv->bias, outputs, first, count);
    Keep(conv->flip, outputs, first, count);
    Keep(conv->thresholds, outputs, first, count, std::max(output.code.levels - 1, 1));
    KeepOfChain(conv->chain, outputs, first, count);
  } else if (auto* dense = std::get_if<FloatDenseOp>(&node.lowered)) {
    dense->weights = RowsOf(*dense->weights, first, count);
    Keep(dense->bias, outputs, first, count);
    KeepOfChain(dense->chain, outputs, first, count);
  }
}

// Where channels first .. first + count - 1 lie in a row of the whole value.
OutputSlice SliceOf(const Value& whole, bool channels_last, int64_t first, int64_t count) {
  if (whole.code.kind != CodeKind::kNone) {
    const CodedPort port = CodedPortOf(whole);
    Value part = whole;
    part.shape[1] = count;
    const bool bits = whole.code.kind == CodeKind::kBits;
    return {port.pixels, CodedPortOf(part).pixel_bytes, port.pixel_bytes, bits ? first / 8 : first};
  }
  const int64_t element = DTypeSize(whole.dtype);
  const int64_t pixels = ElementCount(whole.shape) / whole.shape[1];
  if (channels_last) {
    return {pixels, count * element, whole.shape[1] * element, first * element};
  }
  return {1, pixels * count * element, 0, first * pixels * element};
}

}  // namespace

bool CanSplit(const Graph& lowered, const Node& node) {
  const int64_t outputs = Outputs(node);
  if (outputs == 0 || node.outputs.size() != 1 || node.inputs.empty()) return false;
  const Value& output = lowered.value(node.outputs[0]);
  const bool dense = std::holds_alternative<FloatDenseOp>(node.lowered);
  if (dense && output.shape.size() != 2) return false;
  return output.shape.size() >= 2 && output.shape[0] == 1 && output.shape[1] == outputs &&
         outputs > UnitOf(output) && HandedRowBytes(output) > 0 &&
         HandedRowBytes(lowered.value(node.inputs[0])) > 0;
}

std::vector<GraphPart> SlicesOf(const DividedGraph& whole, size_t node, int parts) {
  const NodeRange range{node, node + 1};
  const ValueId id = whole.graph.nodes[node].outputs[0];
  const Value& value = whole.graph.value(id);
  const int64_t outputs = value.shape[1], unit = UnitOf(value);
  const int64_t units = (outputs + unit - 1) / unit;
  const int64_t slices = std::min<int64_t>(parts, units);
  std::vector<GraphPart> result;
  for (int64_t s = 0; s < slices; ++s) {
    const int64_t first = s * units / slices * unit;
    const int64_t count = std::min((s + 1) * units / slices * unit, outputs) - first;
    GraphPart part = PartOf(whole, range, /*with_rest=*/false);
    KeepOutputs(part.graph.nodes[0], value, outputs, first, count);
    part.graph.value(id).shape[1] = count;
    for (size_t o = 0; o < part.outputs.size(); ++o) {
      part.outputs[o].slice = SliceOf(value, part.graph.outputs[o].channels_last, first, count);
    }
    result.push_back(std::move(part));
  }
  return result;
}

std::vector<size_t> LayersToSplit(const Graph& lowered, double share) {
  const std::vector<double> micros = NodeMicros(lowered);
  double all = 0.0, most = 0.0;
  for (size_t n = 0; n < micros.size(); ++n) {
    all += micros[n];
    if (CanSplit(lowered, lowered.nodes[n])) most = std::max(most, micros[n]);
  }
  std::vector<size_t> layers;
  for (size_t n = 0; n < micros.size(); ++n) {
    if (CanSplit(lowered, lowered.nodes[n]) && micros[n] >= std::min(share * all, most)) {
      layers.push_back(n);
    }
  }
  return layers;
}

}  // namespace bitmill
