#include "model/passes/elementwise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "model/passes/affine.h"
#include "model/passes/graph_edit.h"

namespace bitmill {
namespace {

// Names of operators that are one step without a constant.
struct PlainStep {
  const char* op;
  ChainOp step;
};
constexpr PlainStep kPlainSteps[] = {
    {"Relu", ChainOp::kRelu},   {"Floor", ChainOp::kFloor},     {"Ceil", ChainOp::kCeil},
    {"Round", ChainOp::kRound}, {"Sigmoid", ChainOp::kSigmoid}, {"Tanh", ChainOp::kTanh},
    {"Sqrt", ChainOp::kSqrt},   {"Exp", ChainOp::kExp},         {"Log", ChainOp::kLog},
    {"Abs", ChainOp::kAbs},     {"Neg", ChainOp::kNeg},
};

// Two-operand operators: the step when the constant comes second, and when it comes first.
struct BinaryStep {
  const char* op;
  std::optional<ChainOp> second, first;
};
constexpr BinaryStep kBinarySteps[] = {
    {"Add", ChainOp::kAdd, ChainOp::kAdd}, {"Sub", ChainOp::kSub, ChainOp::kReverseSub},
    {"Mul", ChainOp::kMul, ChainOp::kMul}, {"Div", ChainOp::kDiv, ChainOp::kReverseDiv},
    {"Pow", ChainOp::kPow, std::nullopt},
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The constant as one value or one a channel, for a data tensor of this shape; nothing when it
// varies otherwise or would broadcast the data.
std::optional<std::vector<float>> ChannelOperand(const Tensor& constant, const Shape& data) {
  if (constant.dtype() != DType::kFloat32 || constant.elements() == 0) return std::nullopt;
  const Shape& shape = constant.shape();
  if (shape.size() > data.size()) return std::nullopt;
  const size_t lead = data.size() - shape.size();
  bool channels_only = true;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] != 1 && shape[d] != data[lead + d]) return std::nullopt;
    if (shape[d] != 1 && lead + d != 1) channels_only = false;
  }
  float value = 0.0F;
  if (UniformValue(constant, &value)) return std::vector<float>{value};
  if (!channels_only) return std::nullopt;
  return FloatsOf(constant);
}

// A vector of one element a channel, as BatchNormalization has.
std::optional<std::vector<float>> PerChannel(const Tensor* constant, const Shape& data) {
  if (constant == nullptr || constant->dtype() != DType::kFloat32 || data.size() < 2 ||
      constant->elements() != data[1]) {
    return std::nullopt;
  }
  return FloatsOf(*constant);
}

std::optional<Chain> BatchNormChain(const Graph& graph, const Node& node, const Shape& data) {
  if (IntAttribute(node, "training_mode", 0) != 0) return std::nullopt;
  auto gamma = PerChannel(ConstantInput(graph, node, 1), data);
  auto beta = PerChannel(ConstantInput(graph, node, 2), data);
  auto mean = PerChannel(ConstantInput(graph, node, 3), data);
  auto variance = PerChannel(ConstantInput(graph, node, 4), data);
  if (!gamma || !beta || !mean || !variance) return std::nullopt;
  const float epsilon = FloatAttribute(node, "epsilon", 1e-5F);
  for (float& v : *variance) v = std::sqrt(v + epsilon);
  return Chain{{ChainOp::kSub, *std::move(mean), {}},
               {ChainOp::kDiv, *std::move(variance), {}},
               {ChainOp::kMul, *std::move(gamma), {}},
               {ChainOp::kAdd, *std::move(beta), {}}};
}

// Bounds are attributes before opset 11, inputs since.
std::optional<Chain> ClipChain(const Graph& graph, const Node& node) {
  float bounds[2] = {-kInfinity, kInfinity};
  if (graph.opset < 11) {
    bounds[0] = FloatAttribute(node, "min", -kInfinity);
    bounds[1] = FloatAttribute(node, "max", kInfinity);
  }
  for (size_t i = 0; i < 2 && graph.opset >= 11; ++i) {
    if (InputOf(node, i + 1) == kNoValue) continue;
    const Tensor* bound = ConstantInput(graph, node, i + 1);
    if (bound == nullptr || !UniformValue(*bound, &bounds[i])) return std::nullopt;
  }
  return Chain{{ChainOp::kClip, {bounds[0]}, {bounds[1]}}};
}

// Steps of operators whose parameters are attributes, or that have none worth a table.
std::optional<Chain> AttributeChain(const Graph& graph, const Node& node) {
  const auto attribute = [&](const char* name, float fallback) {
    return std::vector<float>{FloatAttribute(node, name, fallback)};
  };
  if (IsOp(node, "Identity")) return Chain{};
  if (IsOp(node, "Clip")) return ClipChain(graph, node);
  if (IsOp(node, "Reciprocal")) return Chain{{ChainOp::kReverseDiv, {1.0F}, {}}};
  if (IsOp(node, "LeakyRelu")) return Chain{{ChainOp::kLeakyRelu, attribute("alpha", 0.01F), {}}};
  if (IsOp(node, "HardTanh")) {
    return Chain{{ChainOp::kClip, attribute("min_val", -1.0F), attribute("max_val", 1.0F)}};
  }
  if (IsOp(node, "HardSigmoid")) {
    return Chain{{ChainOp::kMul, attribute("alpha", 0.2F), {}},
                 {ChainOp::kAdd, attribute("beta", 0.5F), {}},
                 {ChainOp::kClip, {0.0F}, {1.0F}}};
  }
  return std::nullopt;
}

// What the node does to each element of `*input`.
struct ElementMap {
  ValueId input = kNoValue;
  Chain chain;
};

std::optional<ElementMap> MapOf(const Graph& graph, const Node& node) {
  const ValueId first = InputOf(node, 0);
  if (first == kNoValue || node.outputs.empty()) return std::nullopt;
  const Shape& shape = graph.value(first).shape;
  for (const PlainStep& plain : kPlainSteps) {
    if (IsOp(node, plain.op)) return ElementMap{first, {{plain.step, {}, {}}}};
  }
  for (const BinaryStep& binary : kBinarySteps) {
    if (!IsOp(node, binary.op) || node.inputs.size() != 2) continue;
    for (const size_t data : {size_t{0}, size_t{1}}) {
      const std::optional<ChainOp> step = data == 0 ? binary.second : binary.first;
      const Tensor* constant = ConstantInput(graph, node, 1 - data);
      if (!step || constant == nullptr) continue;
      auto operand = ChannelOperand(*constant, graph.value(node.inputs[data]).shape);
      if (operand) return ElementMap{node.inputs[data], {{*step, *std::move(operand), {}}}};
    }
    return std::nullopt;
  }
  // A bound on one side.
  if ((IsOp(node, "Max") || IsOp(node, "Min")) && node.inputs.size() == 2) {
    const bool lower = IsOp(node, "Max");
    for (const size_t data : {size_t{0}, size_t{1}}) {
      const Tensor* constant = ConstantInput(graph, node, 1 - data);
      float bound = 0.0F;
      if (constant == nullptr || !UniformValue(*constant, &bound)) continue;
      if (lower) return ElementMap{node.inputs[data], {{ChainOp::kClip, {bound}, {kInfinity}}}};
      return ElementMap{node.inputs[data], {{ChainOp::kClip, {-kInfinity}, {bound}}}};
    }
    return std::nullopt;
  }
  if (IsOp(node, "PRelu")) {
    const Tensor* slope = ConstantInput(graph, node, 1);
    if (slope == nullptr) return std::nullopt;
    auto operand = ChannelOperand(*slope, shape);
    if (!operand) return std::nullopt;
    return ElementMap{first, {{ChainOp::kLeakyRelu, *std::move(operand), {}}}};
  }
  std::optional<Chain> chain = IsOp(node, "BatchNormalization") ? BatchNormChain(graph, node, shape)
                                                                : AttributeChain(graph, node);
  if (!chain) return std::nullopt;
  return ElementMap{first, *std::move(chain)};
}

}  // namespace

void ChainElementwise(Graph& graph) {
  for (Node& node : graph.nodes) {
    std::optional<ElementMap> map = MapOf(graph, node);
    if (!map) continue;
    const Value& input = graph.value(map->input);
    const Value& output = graph.value(node.outputs[0]);
    // A shape that differs means that the constant broadcast the data. Channels are axis 1 of a
    // value whose axis 0 is the batch of 1.
    const bool by_channel = std::any_of(map->chain.begin(), map->chain.end(),
                                        [](const ChainStep& s) { return s.operand.size() > 1; });
    if ((by_channel && input.shape[0] != 1) || input.constant != nullptr ||
        input.dtype != DType::kFloat32 || output.dtype != DType::kFloat32 ||
        input.shape != output.shape) {
      continue;
    }
    node.inputs = {map->input};
    node.outputs.resize(1);
    node.lowered = ElementwiseOp{std::move(map->chain)};
  }
}

void MergeChains(Graph& graph) {
  GraphIndex index(graph);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    Node& node = graph.nodes[n];
    auto* const op = std::get_if<ElementwiseOp>(&node.lowered);
    if (op == nullptr) continue;
    const int32_t before = index.SoleProducer(node.inputs[0]);
    if (before < 0) continue;
    Node& first = graph.nodes[static_cast<size_t>(before)];
    auto* const first_op = std::get_if<ElementwiseOp>(&first.lowered);
    if (first_op == nullptr) continue;
    std::move(op->chain.begin(), op->chain.end(), std::back_inserter(first_op->chain));
    first.outputs = node.outputs;
    index.SetProducer(node.outputs[0], before);
    EraseNode(node);
  }
}

void JoinAffineChains(Graph& graph) {
  static constexpr std::array<const char*, 6> kRenaming = {"Reshape",   "Flatten",  "Squeeze",
                                                           "Unsqueeze", "Identity", "Transpose"};
  std::vector<uint8_t> compared(graph.values.size(), 0);
  // Readers come behind what they read.
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool renames = !node->outputs.empty() && node->outputs[0] != kNoValue &&
                         compared[static_cast<size_t>(node->outputs[0])] != 0 &&
                         std::any_of(kRenaming.begin(), kRenaming.end(),
                                     [&](const char* op) { return IsOp(*node, op); });
    if (!renames && !std::holds_alternative<QuantizeOp>(node->lowered)) continue;
    compared[static_cast<size_t>(node->inputs[0])] = 1;
  }
  for (Node& node : graph.nodes) {
    auto* const op = std::get_if<ElementwiseOp>(&node.lowered);
    if (op == nullptr || compared[static_cast<size_t>(node.outputs[0])] != 0) continue;
    Chain joined = JoinAffineSteps(op->chain);
    if (!joined.empty()) op->chain = std::move(joined);
  }
}

}  // namespace bitmill
