#include "model/passes/check_lowered.h"

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "model/passes/narrow_inputs.h"

namespace bitmill {
namespace {

bool IsCoded(const Value& value) { return value.code.kind != CodeKind::kNone; }

// Codes are as wide as their kind says; all else that lowered operations compute is float32.
bool IsNumbers(const Value& value) { return !IsCoded(value) && value.dtype == DType::kFloat32; }

// What is wrong with a node, as the end of a message; null when nothing is.
const char* CheckCode(const Value& value) {
  const CodeInfo& info = value.code;
  if (!IsCoded(value)) return "has a plain output where codes are due";
  if (value.shape.size() != 2 && value.shape.size() != 4) return "makes codes of another rank";
  if (info.kind == CodeKind::kBits && info.levels != 2) return "makes bits without two levels";
  if (info.levels < 2 || info.levels > 256) return "makes codes with absurd levels";
  return info.scale > 0.0F ? nullptr : "makes codes whose scale is not positive";
}

const char* CheckItsChain(const Chain& chain, int64_t channels) {
  return CheckChain(chain, channels).ok() ? nullptr : "has a chain for other channels";
}

// The passes and the backends see to the rest of a float layer.
template <typename FloatLayerOp>
const char* CheckFloatLayer(const FloatLayerOp& op) {
  if (op.weights == nullptr || op.weights->shape().empty()) return "has no weights";
  return CheckItsChain(op.chain, op.weights->shape()[0]);
}

const char* CheckQuantize(const QuantizeOp& op, const Value& input, const Value& output) {
  if (IsCoded(input)) return "quantizes codes";
  if (!IsNumbers(input) && (!IsNarrowNumber(input.dtype) || output.code.kind != CodeKind::kBits)) {
    return "quantizes what is not float";
  }
  if (const char* wrong = CheckCode(output)) return wrong;
  if (input.shape != output.shape) return "changes the shape";
  if (const char* wrong = CheckItsChain(op.chain, output.shape[1])) return wrong;
  const auto channels = static_cast<size_t>(output.shape[1]);
  const auto steps = static_cast<size_t>(output.code.levels - 1);
  if (output.code.kind == CodeKind::kBits) {
    const size_t rows = op.bit_thresholds.size();
    if (rows != 1 && rows != channels) return "has thresholds for other channels";
    return op.bit_invert.size() == rows ? nullptr : "has inversions for other channels";
  }
  const auto rows = static_cast<size_t>(op.level_channels);
  if (rows != 1 && rows != channels) return "has thresholds for other channels";
  return op.level_thresholds.size() == rows * steps ? nullptr : "has thresholds for other levels";
}

const char* CheckConv(const LowBitConvOp& op, const Value& input, const Value& output) {
  if (!IsCoded(input)) return "reads a plain tensor where codes are due";
  if (op.weights == nullptr || op.weights->dtype() != DType::kInt8 ||
      op.weights->shape().size() != 4) {
    return "has no integer weights of four dimensions";
  }
  const Shape& kernel = op.weights->shape();
  if (op.groups < 1 || kernel[0] % op.groups != 0 ||
      CheckedMul(kernel[1], op.groups) != input.shape[1]) {
    return "has weights for other channels";
  }
  if (output.shape.size() < 2 || output.shape[1] != kernel[0]) {
    return "has an output of other channels";
  }
  const auto channels = static_cast<size_t>(kernel[0]);
  if (op.epilogue == LowBitConvOp::Epilogue::kFloat) {
    if (!IsNumbers(output)) return "writes floats into what is not float";
  } else if (const char* wrong = CheckCode(output)) {
    return wrong;
  }
  if (op.epilogue == LowBitConvOp::Epilogue::kThresholds) {
    const auto steps = static_cast<size_t>(output.code.levels - 1);
    return op.thresholds.size() == channels * steps && op.flip.size() == channels
               ? nullptr
               : "has thresholds for other channels or levels";
  }
  if (op.scale.size() != channels || op.bias.size() != channels) {
    return "has scales for other channels";
  }
  return CheckItsChain(op.chain, kernel[0]);
}

const char* CheckNode(const Graph& graph, const Node& node) {
  if (std::holds_alternative<std::monostate>(node.lowered)) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue && IsCoded(graph.value(id))) return "reads codes as if they were a tensor";
    }
    for (const ValueId id : node.outputs) {
      if (id != kNoValue && IsCoded(graph.value(id))) return "makes codes as if they were a tensor";
    }
    return nullptr;
  }
  if (node.inputs.size() != 1 || node.outputs.size() != 1) return "is lowered to other than 1 : 1";
  const Value& input = graph.value(node.inputs[0]);
  const Value& output = graph.value(node.outputs[0]);
  if (const auto* op = std::get_if<QuantizeOp>(&node.lowered)) {
    return CheckQuantize(*op, input, output);
  }
  if (const auto* op = std::get_if<LowBitConvOp>(&node.lowered)) {
    return CheckConv(*op, input, output);
  }
  if (std::holds_alternative<DequantizeOp>(node.lowered)) {
    if (!IsCoded(input)) return "dequantizes a plain tensor";
    if (input.shape != output.shape) return "changes the shape";
    return IsNumbers(output) ? nullptr : "dequantizes into what is not float";
  }
  if (const auto* op = std::get_if<LowBitMaxPoolOp>(&node.lowered)) {
    if (!IsCoded(input)) return "pools a plain tensor as codes";
    if (!op->minimum.empty() && static_cast<int64_t>(op->minimum.size()) != output.shape[1]) {
      return "has minima for other channels";
    }
    return CheckCode(output);
  }
  if (std::holds_alternative<LowBitTransposeOp>(node.lowered)) {
    if (!IsCoded(input)) return "transposes a plain tensor as codes";
    const bool swapped = input.shape.size() == 4 && input.shape[2] == 1 &&
                         output.shape == Shape{1, input.shape[3], 1, input.shape[1]};
    return swapped ? CheckCode(output) : "transposes to another shape";
  }
  if (!IsNumbers(input) || !IsNumbers(output)) return "computes in floats on what is not float";
  if (const auto* op = std::get_if<ElementwiseOp>(&node.lowered)) {
    if (input.shape != output.shape) return "changes the shape";
    const int64_t channels = input.shape.size() > 1 ? input.shape[1] : 1;
    return CheckItsChain(op->chain, channels);
  }
  if (const auto* op = std::get_if<FloatConvOp>(&node.lowered)) return CheckFloatLayer(*op);
  if (const auto* op = std::get_if<FloatDenseOp>(&node.lowered)) return CheckFloatLayer(*op);
  return nullptr;
}

}  // namespace

absl::Status CheckLowered(const Graph& graph) {
  std::vector<bool> made(graph.values.size(), false);
  for (size_t v = 0; v < graph.values.size(); ++v) {
    made[v] = graph.values[v].constant != nullptr;
  }
  for (const GraphPort& port : graph.inputs) {
    if (IsCoded(graph.value(port.value))) {
      return absl::InternalError(
          absl::StrCat("lowering broke input '", port.name, "': it is not a tensor any more"));
    }
    made[static_cast<size_t>(port.value)] = true;
  }
  for (const Node& node : graph.nodes) {
    const char* wrong = nullptr;
    for (const ValueId id : node.inputs) {
      if (id != kNoValue && !made[static_cast<size_t>(id)])
        wrong = "reads a value before it exists";
    }
    if (wrong == nullptr) wrong = CheckNode(graph, node);
    if (wrong != nullptr) {
      return absl::InternalError(
          absl::StrCat("lowering broke ", DescribeNode(graph, node), ": it ", wrong));
    }
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) made[static_cast<size_t>(id)] = true;
    }
  }
  for (const GraphPort& port : graph.outputs) {
    const Value& value = graph.value(port.value);
    if (!made[static_cast<size_t>(port.value)] || IsCoded(value)) {
      return absl::InternalError(
          absl::StrCat("lowering broke output '", port.name, "': nothing makes it as a tensor"));
    }
  }
  return absl::OkStatus();
}

}  // namespace bitmill
