// Nodes whose inputs are all known are evaluated once, in order, so that chains fold in one walk.
// Work and memory are bounded by what the file itself holds: a few bytes can describe a constant of
// gigabytes. A node that is over the bound just stays.
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "model/node_eval.h"
#include "model/passes/graph_edit.h"
#include "model/passes/passes.h"
#include "model/type_inference.h"

namespace bitmill {
namespace {

constexpr int64_t kFreeBytes = int64_t{64} << 20;
constexpr int64_t kBytesPerFileByte = 8;
constexpr int64_t kFreeSteps = int64_t{1} << 26;
constexpr int64_t kStepsPerElement = 64;

class Folder {
 public:
  Folder(Graph& graph, InferredTypes inferred)
      : graph_(graph), inferred_(std::move(inferred)), alias_(graph.values.size()) {
    for (size_t v = 0; v < alias_.size(); ++v) alias_[v] = static_cast<ValueId>(v);
  }

  absl::Status Run() {
    CountUses();
    for (Node& node : graph_.nodes) {
      for (ValueId& id : node.inputs) {
        if (id != kNoValue) id = alias_[static_cast<size_t>(id)];
      }
      if (!std::holds_alternative<std::monostate>(node.lowered)) continue;
      if (PassesInputOn(node)) {
        Bypass(node);
        continue;
      }
      BITMILL_ASSIGN_OR_RETURN(const bool folded, Fold(node));
      if (folded) Drop(node);
    }
    for (GraphPort& port : graph_.outputs) port.value = alias_[static_cast<size_t>(port.value)];
    RemoveDeadNodes(graph_);
    return absl::OkStatus();
  }

 private:
  void CountUses() {
    uses_.assign(graph_.values.size(), 0);
    is_output_.assign(graph_.values.size(), false);
    made_by_node_.assign(graph_.values.size(), false);
    for (const Node& node : graph_.nodes) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) ++uses_[static_cast<size_t>(id)];
      }
      for (const ValueId id : node.outputs) {
        if (id != kNoValue) made_by_node_[static_cast<size_t>(id)] = true;
      }
    }
    for (const GraphPort& port : graph_.outputs) is_output_[static_cast<size_t>(port.value)] = true;
    for (const Value& value : graph_.values) {
      if (value.constant == nullptr) continue;
      byte_budget_ += value.constant->bytes() * kBytesPerFileByte;
      step_budget_ += value.constant->elements() * kStepsPerElement;
    }
    for (const Node& node : graph_.nodes) {
      for (const auto& [name, attribute] : node.attributes) {
        const auto* tensor = std::get_if<SharedTensor>(&attribute);
        if (tensor == nullptr || *tensor == nullptr) continue;
        byte_budget_ += (*tensor)->bytes() * kBytesPerFileByte;
        step_budget_ += (*tensor)->elements() * kStepsPerElement;
      }
    }
  }

  DType TypeOf(ValueId id) const { return inferred_.types[static_cast<size_t>(id)].dtype; }

  // Identity, Dropout outside of training, and Cast to the type that is there already; unless the
  // graph would be left with an output that no node makes, or two that are one.
  bool PassesInputOn(const Node& node) const {
    if (!node.domain.empty() || node.inputs.empty() || node.outputs.empty()) return false;
    const ValueId in = node.inputs[0];
    const ValueId out = node.outputs[0];
    if (in == kNoValue || out == kNoValue) return false;
    if (node.op == "Dropout") {
      for (size_t i = 1; i < node.outputs.size(); ++i) {
        const ValueId mask = node.outputs[i];
        if (mask != kNoValue &&
            (uses_[static_cast<size_t>(mask)] > 0 || is_output_[static_cast<size_t>(mask)])) {
          return false;
        }
      }
    } else if (node.op != "Identity" && (node.op != "Cast" || TypeOf(in) != TypeOf(out))) {
      return false;
    }
    if (!is_output_[static_cast<size_t>(out)]) return true;
    return made_by_node_[static_cast<size_t>(in)] && !is_output_[static_cast<size_t>(in)] &&
           graph_.value(in).constant == nullptr;
  }

  void Bypass(Node& node) {
    const auto in = static_cast<size_t>(node.inputs[0]);
    const auto out = static_cast<size_t>(node.outputs[0]);
    alias_[out] = node.inputs[0];
    uses_[in] += uses_[out];
    if (is_output_[out]) is_output_[in] = true;
    Drop(node);
  }

  absl::StatusOr<bool> Fold(const Node& node) {
    std::vector<TensorView> views;
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) {
        views.emplace_back();
      } else if (const SharedTensor& constant = graph_.value(id).constant; constant != nullptr) {
        views.push_back(constant->view());
      } else if (NeedsNoData(node)) {
        const TensorType& type = inferred_.types[static_cast<size_t>(id)];
        views.push_back({type.dtype, type.shape, nullptr});
      } else {
        return false;
      }
    }
    std::vector<TensorType> types;
    int64_t bytes = 0;
    for (const ValueId id : node.outputs) {
      types.emplace_back();
      if (id == kNoValue) continue;
      if (is_output_[static_cast<size_t>(id)]) return false;
      types.back() = inferred_.types[static_cast<size_t>(id)];
      bytes += ElementCount(types.back().shape) * DTypeSize(types.back().dtype);
    }
    const int64_t steps =
        NeedsNoData(node) ? 1 : EvaluationCost(node, InputInfos(node, inferred_), types);
    const OpDef* const op = FindOp(node.domain, node.op);
    if (op == nullptr || bytes > byte_budget_ || steps > step_budget_) return false;
    auto made = EvaluateNode(*op, node, graph_.opset, views, types);
    if (!made.ok()) {
      return absl::Status(made.status().code(),
                          absl::StrCat(DescribeNode(graph_, node), ": ", made.status().message()));
    }
    byte_budget_ -= bytes;
    step_budget_ -= steps;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      graph_.value(node.outputs[i]).constant =
          std::make_shared<const Tensor>(std::move((*made)[i]));
    }
    return true;
  }

  // Erases the node; what only it has read is freed.
  void Drop(Node& node) {
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || --uses_[static_cast<size_t>(id)] > 0) continue;
      if (is_output_[static_cast<size_t>(id)]) continue;
      SharedTensor& constant = graph_.value(id).constant;
      if (constant == nullptr) continue;
      if (made_by_node_[static_cast<size_t>(id)]) byte_budget_ += constant->bytes();
      constant.reset();
    }
    EraseNode(node);
  }

  Graph& graph_;
  InferredTypes inferred_;
  std::vector<ValueId> alias_;  // the value that stands for each value
  std::vector<int64_t> uses_;
  std::vector<bool> is_output_, made_by_node_;
  int64_t byte_budget_ = kFreeBytes;
  int64_t step_budget_ = kFreeSteps;
};

}  // namespace

absl::Status FoldConstants(Graph& graph) {
  BITMILL_ASSIGN_OR_RETURN(InferredTypes inferred, InferTypes(graph));
  for (size_t v = 0; v < graph.values.size(); ++v) {
    if (inferred.types[v].dtype == DType::kInvalid) continue;
    graph.values[v].dtype = inferred.types[v].dtype;
    graph.values[v].shape = inferred.types[v].shape;
  }
  // Holding on to them would keep alive what folding frees.
  inferred.constants.assign(graph.values.size(), nullptr);
  return Folder(graph, std::move(inferred)).Run();
}

}  // namespace bitmill
