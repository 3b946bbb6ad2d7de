// Each value is either the same for all rows (weights, shape arithmetic) or has the batch as its
// dimension 0; anything else ends the analysis.
#include "model/batch_flow.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/node_eval.h"

namespace bitmill {
namespace {

using Dims = absl::Span<const int64_t>;

int64_t IntAttr(const Node& node, const char* name, int64_t fallback) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) return fallback;
  const int64_t* value = std::get_if<int64_t>(&found->second);
  return value == nullptr ? fallback : *value;
}

std::optional<std::vector<int64_t>> IntsAttr(const Node& node, const char* name) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) return std::nullopt;
  const auto* value = std::get_if<std::vector<int64_t>>(&found->second);
  if (value == nullptr) return std::nullopt;
  return *value;
}

bool IsAnyOf(const std::string& op, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return op == name; });
}

class Flow {
 public:
  Flow(const Graph& graph, const InferredTypes& inferred)
      : graph_(graph), inferred_(inferred), batched_(graph.values.size(), false) {}

  bool Run() {
    if (graph_.inputs.empty()) return false;
    for (const GraphPort& port : graph_.inputs) {
      const Dims shape = dims(port.value);
      if (shape.empty() || shape[0] != 1 || port.declared_shape.size() != shape.size()) {
        return false;
      }
      if (port.declared_shape[0] > 0 && shape.size() < 2) return false;
      batched_[static_cast<size_t>(port.value)] = true;
    }
    for (const Node& node : graph_.nodes) {
      if (!Visit(node)) return false;
    }
    return std::all_of(graph_.outputs.begin(), graph_.outputs.end(),
                       [&](const GraphPort& port) { return batched(port.value); });
  }

 private:
  bool batched(ValueId id) const { return id != kNoValue && batched_[static_cast<size_t>(id)]; }
  Dims dims(ValueId id) const {
    return id == kNoValue ? Dims() : Dims(inferred_.types[static_cast<size_t>(id)].shape);
  }
  int64_t rank(ValueId id) const { return static_cast<int64_t>(dims(id).size()); }
  static ValueId Input(const Node& node, size_t i) {
    return i < node.inputs.size() ? node.inputs[i] : kNoValue;
  }

  bool Visit(const Node& node) {
    const bool any = std::any_of(node.inputs.begin(), node.inputs.end(),
                                 [&](ValueId id) { return batched(id); });
    if (!any || NeedsNoData(node)) return true;  // the outputs are the same for all rows
    if (!Keeps(node)) return false;
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      if (dims(id).empty() || dims(id)[0] != 1) return false;
      batched_[static_cast<size_t>(id)] = true;
    }
    return true;
  }

  // Only input `index` may carry the batch.
  bool OnlyBatched(const Node& node, size_t index) const {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (batched(node.inputs[i]) != (i == index)) return false;
    }
    return true;
  }

  // Inputs that broadcast against each other: those with the batch have the full rank, the others
  // do not reach dimension 0 or are 1 there.
  bool Broadcasts(const Node& node, int64_t out_rank) const {
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      if (batched(id) ? rank(id) != out_rank : rank(id) >= out_rank && dims(id)[0] != 1) {
        return false;
      }
    }
    return true;
  }

  std::optional<std::vector<int64_t>> Constant(ValueId id) const {
    if (id == kNoValue) return std::nullopt;
    const Tensor* constant = inferred_.constants[static_cast<size_t>(id)].get();
    if (constant == nullptr) return std::nullopt;
    std::vector<int64_t> values;
    if (constant->dtype() == DType::kInt64) {
      const auto span = constant->span<int64_t>();
      values.assign(span.begin(), span.end());
    } else if (constant->dtype() == DType::kInt32) {
      const auto span = constant->span<int32_t>();
      values.assign(span.begin(), span.end());
    } else {
      return std::nullopt;
    }
    return values;
  }

  // Axes from the attribute or from input `index`; nothing when not given or not known.
  std::optional<std::vector<int64_t>> Axes(const Node& node, size_t index, int64_t of_rank) const {
    auto axes =
        Input(node, index) != kNoValue ? Constant(Input(node, index)) : IntsAttr(node, "axes");
    if (!axes) return std::nullopt;
    for (int64_t& axis : *axes) axis = axis < 0 ? axis + of_rank : axis;
    return axes;
  }

  static bool Avoids(const std::optional<std::vector<int64_t>>& axes, int64_t axis) {
    return axes && !axes->empty() && std::find(axes->begin(), axes->end(), axis) == axes->end();
  }

  bool AxisIsNot0(const Node& node, int64_t fallback) const {
    const int64_t axis = IntAttr(node, "axis", fallback);
    return (axis < 0 ? axis + rank(Input(node, 0)) : axis) > 0;
  }

  bool Keeps(const Node& node) const {
    const std::string& op = node.op;
    const ValueId x = Input(node, 0);
    const int64_t out_rank = node.outputs.empty() ? 0 : rank(node.outputs[0]);
    if (IsAnyOf(op, {"Add",
                     "Sub",
                     "Mul",
                     "Div",
                     "Pow",
                     "Min",
                     "Max",
                     "Where",
                     "Equal",
                     "Greater",
                     "GreaterOrEqual",
                     "Less",
                     "LessOrEqual",
                     "And",
                     "Or",
                     "Xor",
                     "PRelu",
                     "Mod",
                     "Sum",
                     "Mean",
                     "Quant",
                     "Trunc",
                     "BipolarQuant",
                     "Expand"})) {
      return Broadcasts(node, out_rank);
    }
    if (IsAnyOf(op, {"Relu",
                     "LeakyRelu",
                     "HardSigmoid",
                     "HardSwish",
                     "Clip",
                     "Sigmoid",
                     "Tanh",
                     "Sign",
                     "Floor",
                     "Ceil",
                     "Round",
                     "Sqrt",
                     "Exp",
                     "Log",
                     "Abs",
                     "Neg",
                     "Erf",
                     "Reciprocal",
                     "Elu",
                     "Selu",
                     "Softplus",
                     "Softsign",
                     "Not",
                     "Cast",
                     "Identity",
                     "Dropout",
                     "BatchNormalization",
                     "Conv",
                     "ConvInteger",
                     "QLinearConv",
                     "MaxPool",
                     "AveragePool",
                     "GlobalAveragePool",
                     "GlobalMaxPool",
                     "MultiThreshold",
                     "DepthToSpace",
                     "SpaceToDepth",
                     "Resize",
                     "Upsample",
                     "Reshape"})) {
      return OnlyBatched(node, 0);
    }
    if (op == "Gemm") {
      const bool bias_fits = rank(Input(node, 2)) < 2 || dims(Input(node, 2))[0] == 1;
      return OnlyBatched(node, 0) && IntAttr(node, "transA", 0) == 0 && bias_fits;
    }
    if (op == "MatMul" || op == "MatMulInteger") return KeepsMatMul(x, Input(node, 1));
    if (op == "QLinearMatMul") {
      for (const size_t i : {1U, 2U, 4U, 5U, 6U, 7U}) {
        if (batched(Input(node, i))) return false;
      }
      return KeepsMatMul(x, Input(node, 3));
    }
    if (IsAnyOf(op, {"QuantizeLinear", "DequantizeLinear"})) {
      const bool per_axis = rank(Input(node, 1)) > 0 && dims(Input(node, 1))[0] != 1;
      return OnlyBatched(node, 0) && (!per_axis || AxisIsNot0(node, 1));
    }
    if (IsAnyOf(op, {"Softmax", "LogSoftmax"})) {
      return AxisIsNot0(node, graph_.opset < 13 ? 1 : -1);
    }
    if (op == "Flatten") return IntAttr(node, "axis", 1) == 1;
    if (op == "Concat") return AxisIsNot0(node, 0) && Broadcasts(node, out_rank);
    if (op == "Transpose") {
      const auto perm = IntsAttr(node, "perm");
      return perm && !perm->empty() && (*perm)[0] == 0;
    }
    if (op == "Squeeze") return OnlyBatched(node, 0) && Avoids(Axes(node, 1, rank(x)), 0);
    if (op == "Unsqueeze") return OnlyBatched(node, 0) && Avoids(Axes(node, 1, out_rank), 0);
    if (op.rfind("Reduce", 0) == 0) {
      return OnlyBatched(node, 0) && Avoids(Axes(node, 1, rank(x)), 0);
    }
    if (op == "ArgMax" || op == "ArgMin") return AxisIsNot0(node, 0);
    if (op == "TopK") return OnlyBatched(node, 0) && AxisIsNot0(node, -1);
    if (op == "Gather") {
      if (OnlyBatched(node, 0)) return AxisIsNot0(node, 0);
      return OnlyBatched(node, 1) && IntAttr(node, "axis", 0) == 0;
    }
    if (op == "Slice") return OnlyBatched(node, 0) && KeepsSlice(node);
    if (op == "Pad") return OnlyBatched(node, 0) && KeepsPad(node);
    return false;
  }

  bool KeepsMatMul(ValueId a, ValueId b) const {
    if (!batched(a)) return false;
    if (batched(b)) return rank(a) == rank(b) && rank(a) >= 3;
    if (rank(a) < 2 || rank(b) > rank(a)) return false;
    return rank(a) == 2 || rank(b) < rank(a) || dims(b)[0] == 1;
  }

  bool KeepsSlice(const Node& node) const {
    const bool attributes = node.inputs.size() == 1;
    const auto starts = attributes ? IntsAttr(node, "starts") : Constant(Input(node, 1));
    const auto ends = attributes ? IntsAttr(node, "ends") : Constant(Input(node, 2));
    if (!starts || !ends || starts->size() != ends->size()) return false;
    std::vector<int64_t> axes;
    if (attributes ? node.attributes.contains("axes") : Input(node, 3) != kNoValue) {
      const auto given = Axes(node, 3, rank(Input(node, 0)));
      if (!given || given->size() != starts->size()) return false;
      axes = *given;
    } else {
      for (size_t i = 0; i < starts->size(); ++i) axes.push_back(static_cast<int64_t>(i));
    }
    const auto steps = Constant(Input(node, 4));
    for (size_t i = 0; i < axes.size(); ++i) {
      if (axes[i] != 0) continue;
      const bool whole = (*starts)[i] == 0 && (*ends)[i] >= std::numeric_limits<int32_t>::max();
      if (!whole || (steps && i < steps->size() && (*steps)[i] != 1)) return false;
    }
    return true;
  }

  bool KeepsPad(const Node& node) const {
    const auto pads =
        Input(node, 1) != kNoValue ? Constant(Input(node, 1)) : IntsAttr(node, "pads");
    if (!pads || pads->size() < 2) return false;
    if (Input(node, 3) != kNoValue) return Avoids(Axes(node, 3, rank(Input(node, 0))), 0);
    return (*pads)[0] == 0 && (*pads)[pads->size() / 2] == 0;
  }

  const Graph& graph_;
  const InferredTypes& inferred_;
  std::vector<bool> batched_;
};

}  // namespace

bool KeepsRowsApart(const Graph& graph, const InferredTypes& inferred) {
  return Flow(graph, inferred).Run();
}

}  // namespace bitmill
