#include "model/passes/graph_edit.h"

#include <bit>
#include <utility>

namespace bitmill {
namespace {

template <typename T>
const T* FindAttribute(const Node& node, absl::string_view name) {
  const auto found = node.attributes.find(std::string(name.data(), name.size()));
  return found == node.attributes.end() ? nullptr : std::get_if<T>(&found->second);
}

template <typename T>
std::vector<float> Convert(const Tensor& tensor) {
  const absl::Span<const T> source = tensor.span<T>();
  std::vector<float> result(source.size());
  for (size_t i = 0; i < source.size(); ++i) result[i] = static_cast<float>(source[i]);
  return result;
}

}  // namespace

GraphIndex::GraphIndex(const Graph& graph)
    : producers_(graph.values.size(), -1), uses_(graph.values.size(), 0) {
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId id : graph.nodes[n].inputs) {
      if (id != kNoValue) ++uses_[static_cast<size_t>(id)];
    }
    for (const ValueId id : graph.nodes[n].outputs) {
      if (id != kNoValue) producers_[static_cast<size_t>(id)] = static_cast<int32_t>(n);
    }
  }
  for (const GraphPort& port : graph.outputs) ++uses_[static_cast<size_t>(port.value)];
}

int64_t IntAttribute(const Node& node, absl::string_view name, int64_t fallback) {
  const auto* value = FindAttribute<int64_t>(node, name);
  return value == nullptr ? fallback : *value;
}

float FloatAttribute(const Node& node, absl::string_view name, float fallback) {
  const auto* value = FindAttribute<float>(node, name);
  return value == nullptr ? fallback : *value;
}

std::string StringAttribute(const Node& node, absl::string_view name, const char* fallback) {
  const auto* value = FindAttribute<std::string>(node, name);
  return value == nullptr ? std::string(fallback) : *value;
}

std::vector<int64_t> IntsAttribute(const Node& node, absl::string_view name) {
  const auto* value = FindAttribute<std::vector<int64_t>>(node, name);
  return value == nullptr ? std::vector<int64_t>() : *value;
}

bool IsOp(const Node& node, absl::string_view op) {
  if (!std::holds_alternative<std::monostate>(node.lowered) ||
      absl::string_view(node.op.data(), node.op.size()) != op) {
    return false;
  }
  // There a convolution or a pooling means another layout.
  return node.domain != "qonnx.custom_op.channels_last" || op == "MultiThreshold" ||
         op == "Quant" || op == "IntQuant" || op == "BipolarQuant";
}

ValueId InputOf(const Node& node, size_t index) {
  return index < node.inputs.size() ? node.inputs[index] : kNoValue;
}

const Tensor* ConstantInput(const Graph& graph, const Node& node, size_t index) {
  const ValueId id = InputOf(node, index);
  return id == kNoValue ? nullptr : graph.value(id).constant.get();
}

std::vector<float> FloatsOf(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return Convert<float>(tensor);
    case DType::kFloat64:
      return Convert<double>(tensor);
    case DType::kInt8:
      return Convert<int8_t>(tensor);
    case DType::kUInt8:
      return Convert<uint8_t>(tensor);
    case DType::kInt16:
      return Convert<int16_t>(tensor);
    case DType::kUInt16:
      return Convert<uint16_t>(tensor);
    case DType::kInt32:
      return Convert<int32_t>(tensor);
    case DType::kUInt32:
      return Convert<uint32_t>(tensor);
    case DType::kInt64:
      return Convert<int64_t>(tensor);
    case DType::kUInt64:
      return Convert<uint64_t>(tensor);
    default:
      return {};
  }
}

bool UniformValue(const Tensor& tensor, float* value) {
  const std::vector<float> values = FloatsOf(tensor);
  if (values.empty()) return false;
  for (const float x : values) {
    if (std::bit_cast<uint32_t>(x) != std::bit_cast<uint32_t>(values[0])) return false;
  }
  *value = values[0];
  return true;
}

void EraseNode(Node& node) { node = Node{}; }

bool IsErased(const Node& node) { return node.outputs.empty(); }

void RemoveDeadNodes(Graph& graph) {
  std::vector<bool> needed(graph.values.size(), false);
  for (const GraphPort& port : graph.outputs) needed[static_cast<size_t>(port.value)] = true;
  std::vector<bool> alive(graph.nodes.size(), false);
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    for (const ValueId id : graph.nodes[n].outputs) {
      if (id != kNoValue && needed[static_cast<size_t>(id)]) alive[n] = true;
    }
    if (!alive[n]) continue;
    for (const ValueId id : graph.nodes[n].inputs) {
      if (id != kNoValue) needed[static_cast<size_t>(id)] = true;
    }
  }

  std::vector<Node> nodes;
  std::vector<bool> kept = needed;
  for (const GraphPort& port : graph.inputs) kept[static_cast<size_t>(port.value)] = true;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!alive[n]) continue;
    // Optional outputs that nobody reads keep their place.
    for (const ValueId id : graph.nodes[n].outputs) {
      if (id != kNoValue) kept[static_cast<size_t>(id)] = true;
    }
    nodes.push_back(std::move(graph.nodes[n]));
  }

  std::vector<ValueId> renumbered(graph.values.size(), kNoValue);
  std::vector<Value> values;
  for (size_t v = 0; v < graph.values.size(); ++v) {
    if (!kept[v]) continue;
    renumbered[v] = static_cast<ValueId>(values.size());
    values.push_back(std::move(graph.values[v]));
  }
  const auto renumber = [&](ValueId& id) {
    if (id != kNoValue) id = renumbered[static_cast<size_t>(id)];
  };
  for (Node& node : nodes) {
    for (ValueId& id : node.inputs) renumber(id);
    for (ValueId& id : node.outputs) renumber(id);
  }
  for (GraphPort& port : graph.inputs) renumber(port.value);
  for (GraphPort& port : graph.outputs) renumber(port.value);
  graph.nodes = std::move(nodes);
  graph.values = std::move(values);
}

}  // namespace bitmill
