#include "backends/cpu/sequence_steps.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "model/ops/op_support.h"

namespace bitmill {
namespace {

bool IsOnnx(const Node& node) {
  return std::holds_alternative<std::monostate>(node.lowered) &&
         (node.domain.empty() || node.domain == "ai.onnx");
}

bool IsFloat(const Graph& graph, ValueId id) {
  if (id == kNoValue) return false;
  const Value& value = graph.value(id);
  return value.dtype == DType::kFloat32 && value.code.kind == CodeKind::kNone &&
         ElementCount(value.shape) > 0;
}

bool IsComputedFloat(const Graph& graph, ValueId id) {
  return IsFloat(graph, id) && graph.value(id).constant == nullptr;
}

std::optional<SequenceOp> PermuteOf(const Graph& graph, const Node& node) {
  const size_t rank = graph.value(node.inputs[0]).shape.size();
  PermuteOp op;
  if (const auto* given = AttrInts(node, "perm")) {
    op.perm = *given;
  } else {
    op.perm.resize(rank);
    std::iota(op.perm.rbegin(), op.perm.rend(), 0);
  }
  if (op.perm.size() != rank || rank > 8) return std::nullopt;
  return op;
}

// The operation with the constant second, and with the constant first.
struct ConstantForm {
  const char* op;
  std::optional<FmapOp> second, first;
};
constexpr ConstantForm kConstantForms[] = {
    {"Add", FmapOp::kAdd, FmapOp::kAdd},         {"Sub", FmapOp::kSub, FmapOp::kReverseSub},
    {"Mul", FmapOp::kMul, FmapOp::kMul},         {"Div", FmapOp::kDiv, FmapOp::kReverseDiv},
    {"PRelu", FmapOp::kLeakyRelu, std::nullopt},
};

std::optional<SequenceOp> ConstantOperandOf(const Graph& graph, const Node& node) {
  for (const ConstantForm& form : kConstantForms) {
    if (node.op != form.op || node.inputs.size() != 2) continue;
    const size_t data = IsComputedFloat(graph, node.inputs[0]) ? 0 : 1;
    const std::optional<FmapOp> op = data == 0 ? form.second : form.first;
    const ValueId constant = node.inputs[1 - data];
    if (!op || !IsComputedFloat(graph, node.inputs[data]) || !IsFloat(graph, constant) ||
        graph.value(constant).constant == nullptr ||
        graph.value(node.inputs[data]).shape != graph.value(node.outputs[0]).shape) {
      return std::nullopt;
    }
    return ConstantOperandOp{*op, data};
  }
  return std::nullopt;
}

}  // namespace

std::optional<SequenceOp> SequenceOpOf(const Graph& graph, const Node& node) {
  if (!IsOnnx(node) || node.inputs.empty() || node.outputs.size() != 1 ||
      !IsComputedFloat(graph, node.outputs[0]) || !IsFloat(graph, node.inputs[0])) {
    return std::nullopt;
  }
  if (node.op == "Transpose" && IsComputedFloat(graph, node.inputs[0])) {
    return PermuteOf(graph, node);
  }
  return ConstantOperandOf(graph, node);
}

PixelOrder PixelOrderOf(const Graph& graph, const Node& node) {
  if (!IsOnnx(node) || node.op != "Transpose" || node.inputs.size() != 1 ||
      node.outputs.size() != 1 || !IsComputedFloat(graph, node.inputs[0]) ||
      graph.value(node.inputs[0]).shape.size() != 4 || graph.value(node.inputs[0]).shape[0] != 1) {
    return PixelOrder::kNone;
  }
  const auto* const perm = AttrInts(node, "perm");
  if (perm == nullptr) return PixelOrder::kNone;
  if (*perm == std::vector<int64_t>{0, 3, 1, 2}) return PixelOrder::kToImage;
  if (*perm == std::vector<int64_t>{0, 2, 3, 1}) return PixelOrder::kFromImage;
  return PixelOrder::kNone;
}

absl::StatusOr<StepPtr> MakeSequenceStep(const SequenceOp& op, const Graph& graph, const Node& node,
                                         absl::Span<const Operand> inputs, const Operand& output,
                                         StepBuilder& builder) {
  const auto shape = [&](size_t i) -> const Shape& { return graph.value(node.inputs[i]).shape; };
  if (const auto* permute = std::get_if<PermuteOp>(&op)) {
    return MakePermuteStep(permute->perm, shape(0), inputs[0], output, builder);
  }
  const auto& constant = std::get<ConstantOperandOp>(op);
  return MakeConstantOperandStep(constant.op, *graph.value(node.inputs[1 - constant.data]).constant,
                                 shape(constant.data), inputs[0], output, builder);
}

}  // namespace bitmill
