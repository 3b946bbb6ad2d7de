#include "model/reference.h"

#include <cstring>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/node_eval.h"

namespace bitmill {
namespace {

class ReferenceRun {
 public:
  explicit ReferenceRun(const Graph& graph)
      : graph_(graph), views_(graph.values.size()), tensors_(graph.values.size()) {}

  absl::Status BindInputs(absl::Span<const TensorView> inputs) {
    if (inputs.size() != graph_.inputs.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the model has ", graph_.inputs.size(),
                                                     " inputs, ", inputs.size(), " were given"));
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Value& value = graph_.value(graph_.inputs[i].value);
      if (inputs[i].dtype != value.dtype || inputs[i].shape != absl::MakeConstSpan(value.shape)) {
        return absl::InvalidArgumentError(
            absl::StrCat("input '", graph_.inputs[i].name, "' is ", DTypeName(inputs[i].dtype), " ",
                         ShapeToString(inputs[i].shape), ", wanted ", DTypeName(value.dtype), " ",
                         ShapeToString(value.shape)));
      }
      view(graph_.inputs[i].value) = inputs[i];
    }
    for (size_t v = 0; v < graph_.values.size(); ++v) {
      if (graph_.values[v].constant != nullptr) views_[v] = graph_.values[v].constant->view();
    }
    return absl::OkStatus();
  }

  absl::Status RunNodes() {
    // A value is dropped behind its last reader, so that large networks fit.
    std::vector<size_t> last_reader(graph_.values.size(), graph_.nodes.size());
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (const ValueId id : graph_.nodes[n].inputs) {
        if (id != kNoValue) last_reader[static_cast<size_t>(id)] = n;
      }
    }
    for (const GraphPort& port : graph_.outputs) {
      last_reader[static_cast<size_t>(port.value)] = graph_.nodes.size();
    }
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (absl::Status status = RunNode(node); !status.ok()) {
        return absl::Status(status.code(),
                            absl::StrCat(DescribeNode(graph_, node), ": ", status.message()));
      }
      for (const ValueId id : node.inputs) {
        if (id != kNoValue && last_reader[static_cast<size_t>(id)] == n) {
          tensors_[static_cast<size_t>(id)].reset();
        }
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<Tensor>> Outputs() {
    std::vector<Tensor> outputs;
    for (const GraphPort& port : graph_.outputs) {
      const TensorView from = view(port.value);
      if (from.data == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("output '", port.name, "' is defined by nothing"));
      }
      BITMILL_ASSIGN_OR_RETURN(Tensor copy, Tensor::Create(from.dtype, from.shape));
      if (copy.bytes() > 0) {
        std::memcpy(copy.data(), from.data, static_cast<size_t>(copy.bytes()));
      }
      outputs.push_back(std::move(copy));
    }
    return outputs;
  }

 private:
  TensorView& view(ValueId id) { return views_[static_cast<size_t>(id)]; }

  absl::Status RunNode(const Node& node) {
    if (!std::holds_alternative<std::monostate>(node.lowered)) {
      return absl::InvalidArgumentError("is lowered; the reference runs ONNX operators only");
    }
    const OpDef* const op = FindOp(node.domain, node.op);
    if (op == nullptr) return absl::UnimplementedError("is not a supported operator");
    std::vector<TensorView> inputs;
    for (const ValueId id : node.inputs) {
      inputs.push_back(id == kNoValue ? TensorView() : view(id));
      if (id != kNoValue && inputs.back().data == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("reads '", graph_.value(id).name, "' before it is defined"));
      }
    }
    std::vector<TensorType> types;
    types.reserve(node.outputs.size());
    for (const ValueId id : node.outputs) {
      types.push_back(id == kNoValue ? TensorType()
                                     : TensorType{graph_.value(id).dtype, graph_.value(id).shape});
    }
    BITMILL_ASSIGN_OR_RETURN(std::vector<Tensor> made,
                             EvaluateNode(*op, node, graph_.opset, inputs, types));
    for (size_t i = 0; i < made.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      const auto at = static_cast<size_t>(node.outputs[i]);
      const Tensor& tensor = tensors_[at].emplace(std::move(made[i]));
      views_[at] = tensor.view();
    }
    return absl::OkStatus();
  }

  const Graph& graph_;
  std::vector<TensorView> views_;               // by value; no data until it is defined
  std::vector<std::optional<Tensor>> tensors_;  // what the run itself has made
};

}  // namespace

absl::StatusOr<std::vector<Tensor>> RunReference(const Graph& graph,
                                                 absl::Span<const TensorView> inputs) {
  ReferenceRun run(graph);
  BITMILL_RETURN_IF_ERROR(run.BindInputs(inputs));
  BITMILL_RETURN_IF_ERROR(run.RunNodes());
  return run.Outputs();
}

}  // namespace bitmill
