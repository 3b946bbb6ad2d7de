// From a lowered graph to a device plan, node by node.
#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "backends/cpu/plan_values.h"
#include "backends/device/device_plan.h"
#include "backends/device/plan_writer.h"
#include "base/status_macros.h"
#include "model/ops/op_registry.h"

namespace bitmill {
namespace {

static_assert(static_cast<int>(device::kStepParamCount) <= static_cast<int>(device::kStepParams));
static_assert(static_cast<int>(device::kChainNeg) == static_cast<int>(ChainOp::kNeg));
static_assert(static_cast<int>(device::kChainSigmoid) == static_cast<int>(ChainOp::kSigmoid));
static_assert(static_cast<int>(device::kRoundTowardZero) ==
              static_cast<int>(Rounding::kTowardZero));

class DevicePlanBuilder {
 public:
  DevicePlanBuilder(const Graph& graph, int64_t max_rows, const ChooseConvTile& choose,
                    InputQuantizer quantizer)
      : graph_(graph),
        choose_(choose),
        quantizer_(quantizer),
        writer_(max_rows),
        values_(graph.values.size()) {}

  absl::StatusOr<DevicePlan> Build() {
    for (const GraphPort& port : graph_.inputs) {
      if (const Node* const quantize = OnlyQuantizer(port.value); quantize != nullptr) {
        BITMILL_RETURN_IF_ERROR(AddInputBits(*quantize));
        continue;
      }
      BITMILL_ASSIGN_OR_RETURN(DeviceValue & value, NewValue(port.value));
      writer_.AddBuffer(value);
      writer_.plan().inputs.push_back({value.buffer, nullptr, nullptr});
    }
    for (const Node& node : graph_.nodes) {
      if (on_host_.contains(&node)) continue;
      if (absl::Status status = AddNode(node); !status.ok()) {
        return absl::Status(status.code(),
                            absl::StrCat(DescribeNode(graph_, node), ": ", status.message()));
      }
    }
    for (const GraphPort& port : graph_.outputs) {
      const SharedTensor constant = graph_.value(port.value).constant;
      const int32_t buffer = constant != nullptr ? -1 : value(port.value).buffer;
      if (constant == nullptr && buffer < 0) {
        return absl::InternalError(absl::StrCat("nothing computes output '", port.name, "'"));
      }
      if (buffer >= 0) writer_.Use(buffer);
      writer_.plan().outputs.push_back({buffer, constant, nullptr});
    }
    return writer_.Finish();
  }

 private:
  DeviceValue& value(ValueId id) { return values_[static_cast<size_t>(id)]; }

  absl::StatusOr<std::reference_wrapper<DeviceValue>> NewValue(ValueId id) {
    BITMILL_ASSIGN_OR_RETURN(value(id), DeviceValueOf(graph_.value(id)));
    return std::ref(value(id));
  }

  // The one node that reads a value; null when there are several, or an output is it.
  const Node* OnlyReader(ValueId value) const {
    for (const GraphPort& port : graph_.outputs) {
      if (port.value == value) return nullptr;
    }
    const Node* reader = nullptr;
    for (const Node& node : graph_.nodes) {
      if (std::find(node.inputs.begin(), node.inputs.end(), value) == node.inputs.end()) continue;
      if (reader != nullptr) return nullptr;
      reader = &node;
    }
    return reader;
  }

  // The node that makes bits of a float input by comparing it alone, perhaps under another shape,
  // when nothing else reads it and the host is to do that; or null. What is then not computed is
  // kept in on_host_.
  const Node* OnlyQuantizer(ValueId input) {
    if (quantizer_ == InputQuantizer::kDevice || graph_.value(input).dtype != DType::kFloat32) {
      return nullptr;
    }
    std::vector<const Node*> passed;
    const Node* reader = OnlyReader(input);
    while (reader != nullptr && std::holds_alternative<std::monostate>(reader->lowered) &&
           IsAliasNode(graph_, *reader)) {
      passed.push_back(reader);
      reader = OnlyReader(reader->outputs[0]);
    }
    const auto* const op = reader != nullptr ? std::get_if<QuantizeOp>(&reader->lowered) : nullptr;
    if (op == nullptr || reader->outputs.empty() || reader->outputs[0] == kNoValue) return nullptr;
    const bool compares = !op->bit_thresholds.empty() || op->chain.empty();
    if (!compares || graph_.value(reader->outputs[0]).code.kind != CodeKind::kBits) return nullptr;
    on_host_.insert(passed.begin(), passed.end());
    on_host_.insert(reader);
    return reader;
  }

  absl::Status AddInputBits(const Node& node) {
    BITMILL_ASSIGN_OR_RETURN(DeviceValue & out, NewValue(node.outputs[0]));
    if (out.elements == 0) return absl::UnimplementedError("a tensor without elements");
    const auto& op = std::get<QuantizeOp>(node.lowered);
    auto bits = std::make_shared<InputBits>();
    bits->channels = out.channels;
    bits->pixels = out.pixels();
    bits->pixel_bytes = out.pixel_bytes;
    bits->thresholds = op.bit_thresholds.empty() ? std::vector<float>{0.0F} : op.bit_thresholds;
    if (!op.bit_thresholds.empty()) bits->invert = op.bit_invert;
    writer_.AddBuffer(out);
    writer_.plan().inputs.push_back({out.buffer, nullptr, std::move(bits)});
    return absl::OkStatus();
  }

  absl::Status AddNode(const Node& node) {
    if (std::holds_alternative<std::monostate>(node.lowered)) return AddPlainNode(node);
    if (node.inputs.empty() || node.outputs.empty() || node.inputs[0] == kNoValue ||
        node.outputs[0] == kNoValue || value(node.inputs[0]).buffer < 0) {
      return absl::InternalError("a lowered operation without an input or output to compute");
    }
    BITMILL_ASSIGN_OR_RETURN(DeviceValue & out, NewValue(node.outputs[0]));
    const DeviceValue in = value(node.inputs[0]);
    if (in.elements == 0 || out.elements == 0) {
      return absl::UnimplementedError("a tensor without elements");
    }
    const std::string name = node.name.empty() ? node.op : node.name;
    if (const auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
      return AddLowBitConv(*conv, name, in, out, choose_, writer_);
    }
    if (const auto* quantize = std::get_if<QuantizeOp>(&node.lowered)) {
      AddQuantize(*quantize, name, in, out, writer_);
    } else if (std::holds_alternative<DequantizeOp>(node.lowered)) {
      AddDequantize(name, in, out, writer_);
    } else if (const auto* pool = std::get_if<LowBitMaxPoolOp>(&node.lowered)) {
      AddLowBitPool(*pool, name, in, out, writer_);
    } else if (std::holds_alternative<LowBitTransposeOp>(node.lowered)) {
      AddCodeTranspose(name, in, out, writer_);
    } else if (const auto* chain = std::get_if<ElementwiseOp>(&node.lowered)) {
      AddElementwise(*chain, name, in, out, writer_);
    } else if (const auto* float_conv = std::get_if<FloatConvOp>(&node.lowered)) {
      AddFloatConv(*float_conv, name, in, out, writer_);
    } else if (const auto* dense = std::get_if<FloatDenseOp>(&node.lowered)) {
      AddFloatDense(*dense, name, in, out, writer_);
    } else {
      return absl::InternalError("a lowered operation that the OpenCL backend does not know");
    }
    return absl::OkStatus();
  }

  // Still an ONNX node: another name for its input, a float kernel, or a host step.
  absl::Status AddPlainNode(const Node& node) {
    if (IsAliasNode(graph_, node) && value(node.inputs[0]).buffer >= 0) {
      BITMILL_ASSIGN_OR_RETURN(DeviceValue & out, NewValue(node.outputs[0]));
      out.buffer = value(node.inputs[0]).buffer;
      return absl::OkStatus();
    }
    std::vector<DeviceValue> inputs;
    bool simple = node.outputs.size() == 1 && node.outputs[0] != kNoValue;
    for (const ValueId id : node.inputs) {
      simple = simple && id != kNoValue;
      if (!simple) break;
      DeviceValue input = value(id);
      if (graph_.value(id).constant != nullptr) {
        BITMILL_ASSIGN_OR_RETURN(input, DeviceValueOf(graph_.value(id)));
      }
      inputs.push_back(std::move(input));
    }
    if (simple) {
      BITMILL_ASSIGN_OR_RETURN(DeviceValue & out, NewValue(node.outputs[0]));
      if (AddFloatNode(graph_, node, inputs, out, writer_)) return absl::OkStatus();
    }
    return AddHostStep(node);
  }

  absl::Status AddHostStep(const Node& node) {
    if (FindOp(node.domain, node.op) == nullptr) {
      return absl::UnimplementedError(absl::StrCat("operator ", node.op, " is not supported"));
    }
    auto host = std::make_shared<HostStep>();
    host->node = node;
    host->opset = graph_.opset;
    DeviceStep step;
    for (const ValueId id : node.inputs) {
      HostOperand operand;
      if (id != kNoValue) {
        const Value& from = graph_.value(id);
        operand = {from.constant != nullptr ? -1 : value(id).buffer, from.constant, from.dtype,
                   from.shape};
        if (operand.buffer >= 0) writer_.Use(operand.buffer);
        if (step.input.empty()) step.input = ShapeToString(from.shape);
      }
      host->inputs.push_back(std::move(operand));
    }
    for (const ValueId id : node.outputs) {
      HostOperand operand;
      if (id != kNoValue) {
        BITMILL_ASSIGN_OR_RETURN(DeviceValue & out, NewValue(id));
        writer_.AddBuffer(out);
        operand = {out.buffer, nullptr, out.dtype, out.shape};
        step.output = ShapeToString(out.shape);
      }
      host->outputs.push_back(std::move(operand));
    }
    step.name = node.name.empty() ? node.op : node.name;
    step.kernel = "host";
    step.bits = node.op;
    step.host = std::move(host);
    writer_.plan().exact = false;  // nothing is known of it
    writer_.Push(std::move(step));
    return absl::OkStatus();
  }

  const Graph& graph_;
  const ChooseConvTile& choose_;
  const InputQuantizer quantizer_;
  PlanWriter writer_;
  std::set<const Node*> on_host_;
  std::vector<DeviceValue> values_;
};

}  // namespace

absl::StatusOr<DevicePlan> BuildDevicePlan(const Graph& lowered, int64_t max_rows,
                                           const ChooseConvTile& choose, InputQuantizer quantizer) {
  return DevicePlanBuilder(lowered, max_rows, choose, quantizer).Build();
}

}  // namespace bitmill
