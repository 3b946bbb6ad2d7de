#include "model/type_inference.h"

#include <memory>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/node_eval.h"
#include "model/ops/attributes.h"
#include "model/ops/op_support.h"

namespace bitmill {
namespace {

// Shape arithmetic works on a handful of integers; anything larger waits for FoldConstants. The
// total bounds what a hostile file can make us compute and keep.
constexpr int64_t kMaxStepsOfNode = 4096;
constexpr int64_t kMaxStepsOfGraph = 1 << 20;

absl::Status OfNode(const Graph& graph, const Node& node, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat(DescribeNode(graph, node), ": ", status.message()));
}

absl::Status CheckArity(const OpDef& op, const Node& node) {
  const auto inputs = static_cast<int>(node.inputs.size());
  const auto outputs = static_cast<int>(node.outputs.size());
  if (inputs < op.min_inputs || inputs > op.max_inputs) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", inputs, " inputs, wanted ", op.min_inputs, " to ", op.max_inputs));
  }
  for (int i = 0; i < op.min_inputs; ++i) {
    if (node.inputs[static_cast<size_t>(i)] == kNoValue) {
      return absl::InvalidArgumentError(absl::StrCat("input ", i, " is absent"));
    }
  }
  if (outputs < 1 || outputs < op.min_outputs || outputs > op.max_outputs) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", outputs, " outputs, wanted ", op.min_outputs, " to ", op.max_outputs));
  }
  return absl::OkStatus();
}

absl::Status CheckTypes(absl::Span<const TensorType> types, size_t wanted) {
  if (types.size() < wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", wanted, " outputs, but its operator gives only ", types.size()));
  }
  for (const TensorType& type : types) {
    if (!IsSaneShape(type.shape)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "gives a tensor of shape ", ShapeToString(type.shape), ", which is too large"));
    }
    if (DTypeSize(type.dtype) == 0) {
      return absl::InvalidArgumentError("gives a tensor of a type that is not supported");
    }
  }
  return absl::OkStatus();
}

class Inference {
 public:
  explicit Inference(const Graph& graph) : graph_(graph) {
    result.types.resize(graph.values.size());
    result.constants.resize(graph.values.size());
  }

  absl::Status Run() {
    for (const Value& value : graph_.values) {
      const Shape& shape = value.constant != nullptr ? value.constant->shape() : value.shape;
      if (IsSaneShape(shape)) continue;
      return absl::InvalidArgumentError(absl::StrCat("value '", value.name, "' has shape ",
                                                     ShapeToString(shape), ", which is too large"));
    }
    for (size_t v = 0; v < graph_.values.size(); ++v) {
      if (const SharedTensor& constant = graph_.values[v].constant; constant != nullptr) {
        result.types[v] = {constant->dtype(), constant->shape()};
        result.constants[v] = constant;
      }
    }
    for (const GraphPort& port : graph_.inputs) Keep(port.value);
    for (const Node& node : graph_.nodes) {
      if (absl::Status status = Visit(node); !status.ok()) return OfNode(graph_, node, status);
    }
    for (const GraphPort& port : graph_.outputs) {
      if (type(port.value).dtype == DType::kInvalid) {
        return absl::InvalidArgumentError(
            absl::StrCat("output '", port.name, "' is defined by nothing"));
      }
    }
    return absl::OkStatus();
  }

  InferredTypes result;

 private:
  TensorType& type(ValueId id) { return result.types[static_cast<size_t>(id)]; }

  void Keep(ValueId id) { type(id) = {graph_.value(id).dtype, graph_.value(id).shape}; }

  absl::Status Visit(const Node& node) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue && type(id).dtype == DType::kInvalid) {
        return absl::InvalidArgumentError(
            absl::StrCat("reads '", graph_.value(id).name, "' before it is defined"));
      }
    }
    if (!std::holds_alternative<std::monostate>(node.lowered)) {
      for (const ValueId id : node.outputs) {
        if (id != kNoValue) Keep(id);
      }
      return absl::OkStatus();
    }
    const OpDef* const op = FindOp(node.domain, node.op);
    if (op == nullptr) {
      return absl::UnimplementedError(absl::StrCat(
          "operator ", node.op, " of domain '", node.domain.empty() ? "ai.onnx" : node.domain,
          "' is not supported; supported are ", SupportedOps()));
    }
    BITMILL_RETURN_IF_ERROR(CheckArity(*op, node));
    BITMILL_RETURN_IF_ERROR(CheckAttributeTypes(node));
    const std::vector<InputInfo> inputs = InputInfos(node, result);
    BITMILL_ASSIGN_OR_RETURN(std::vector<TensorType> types, op->infer(node, graph_.opset, inputs));
    BITMILL_RETURN_IF_ERROR(CheckTypes(types, node.outputs.size()));
    BITMILL_RETURN_IF_ERROR(EvaluateSmall(*op, node, inputs, types));
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] != kNoValue) type(node.outputs[i]) = std::move(types[i]);
    }
    return absl::OkStatus();
  }

  absl::Status EvaluateSmall(const OpDef& op, const Node& node, absl::Span<const InputInfo> inputs,
                             absl::Span<const TensorType> types) {
    std::vector<TensorView> views;
    for (const InputInfo& input : inputs) {
      if (input.dtype == DType::kInvalid) {
        views.emplace_back();
      } else if (input.constant != nullptr) {
        views.push_back(input.constant->view());
      } else if (NeedsNoData(node)) {
        views.push_back({input.dtype, input.shape, nullptr});
      } else {
        return absl::OkStatus();
      }
    }
    // An operator that needs no data gives one number a dimension.
    const int64_t steps = NeedsNoData(node) ? 1 : EvaluationCost(node, inputs, types);
    if (steps > kMaxStepsOfNode || steps_ + steps > kMaxStepsOfGraph) return absl::OkStatus();
    steps_ += steps;
    BITMILL_ASSIGN_OR_RETURN(std::vector<Tensor> tensors,
                             EvaluateNode(op, node, graph_.opset, views, types));
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      result.constants[static_cast<size_t>(node.outputs[i])] =
          std::make_shared<const Tensor>(std::move(tensors[i]));
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  int64_t steps_ = 0;
};

}  // namespace

std::vector<InputInfo> InputInfos(const Node& node, const InferredTypes& inferred) {
  std::vector<InputInfo> infos;
  infos.reserve(node.inputs.size());
  for (const ValueId id : node.inputs) {
    if (id == kNoValue) {
      infos.emplace_back();
      continue;
    }
    const TensorType& type = inferred.types[static_cast<size_t>(id)];
    infos.push_back({type.dtype, type.shape, inferred.constants[static_cast<size_t>(id)].get()});
  }
  return infos;
}

absl::StatusOr<InferredTypes> InferTypes(const Graph& graph) {
  Inference inference(graph);
  BITMILL_RETURN_IF_ERROR(inference.Run());
  return std::move(inference.result);
}

}  // namespace bitmill
