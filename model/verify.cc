#include "model/verify.h"

#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/batch_flow.h"
#include "model/type_inference.h"

namespace bitmill {
namespace {

bool InRange(const Graph& graph, ValueId id) {
  return id >= 0 && static_cast<size_t>(id) < graph.values.size();
}

absl::Status CheckPorts(const Graph& graph, absl::Span<const GraphPort> ports, const char* kind) {
  for (const GraphPort& port : ports) {
    if (!InRange(graph, port.value)) {
      return absl::InvalidArgumentError(absl::StrCat(kind, " '", port.name, "' refers to value ",
                                                     port.value, " of ", graph.values.size()));
    }
  }
  return absl::OkStatus();
}

// Every index in range, every value defined once.
absl::Status CheckStructure(const Graph& graph) {
  BITMILL_RETURN_IF_ERROR(CheckPorts(graph, graph.inputs, "input"));
  BITMILL_RETURN_IF_ERROR(CheckPorts(graph, graph.outputs, "output"));
  if (graph.outputs.empty()) return absl::InvalidArgumentError("the graph has no output");
  std::vector<bool> defined(graph.values.size(), false);
  for (size_t v = 0; v < graph.values.size(); ++v) {
    defined[v] = graph.values[v].constant != nullptr;
  }
  for (const GraphPort& port : graph.inputs) {
    if (defined[static_cast<size_t>(port.value)]) {
      return absl::InvalidArgumentError(
          absl::StrCat("input '", port.name, "' is defined elsewhere as well"));
    }
    defined[static_cast<size_t>(port.value)] = true;
  }
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue && !InRange(graph, id)) {
        return absl::InvalidArgumentError(absl::StrCat(DescribeNode(graph, node), " reads value ",
                                                       id, " of ", graph.values.size()));
      }
    }
    for (const ValueId id : node.outputs) {
      if (id == kNoValue) continue;
      if (!InRange(graph, id)) {
        return absl::InvalidArgumentError(absl::StrCat(DescribeNode(graph, node), " makes value ",
                                                       id, " of ", graph.values.size()));
      }
      if (defined[static_cast<size_t>(id)]) {
        return absl::InvalidArgumentError(absl::StrCat(DescribeNode(graph, node), " makes '",
                                                       graph.value(id).name,
                                                       "', which is defined elsewhere as well"));
      }
      defined[static_cast<size_t>(id)] = true;
    }
  }
  return absl::OkStatus();
}

bool IsLowered(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<std::monostate>(node.lowered)) return true;
  }
  return false;
}

}  // namespace

absl::Status VerifyGraph(const Graph& graph) {
  BITMILL_RETURN_IF_ERROR(CheckStructure(graph));
  BITMILL_ASSIGN_OR_RETURN(const InferredTypes inferred, InferTypes(graph));
  for (size_t v = 0; v < graph.values.size(); ++v) {
    const TensorType& type = inferred.types[v];
    const Value& value = graph.values[v];
    if (type.dtype == DType::kInvalid) continue;  // left over, nobody makes or reads it
    if (type.dtype != value.dtype || type.shape != value.shape) {
      return absl::InvalidArgumentError(absl::StrCat(
          "value '", value.name, "' is ", DTypeName(value.dtype), " ", ShapeToString(value.shape),
          ", its operator gives ", DTypeName(type.dtype), " ", ShapeToString(type.shape)));
    }
  }
  return absl::OkStatus();
}

absl::Status InferShapes(Graph& graph) {
  BITMILL_RETURN_IF_ERROR(CheckStructure(graph));
  BITMILL_ASSIGN_OR_RETURN(InferredTypes inferred, InferTypes(graph));
  // The analysis knows ONNX operators; lowering does not change what it found before.
  if (!IsLowered(graph)) graph.batchable = KeepsRowsApart(graph, inferred);
  for (size_t v = 0; v < graph.values.size(); ++v) {
    if (inferred.types[v].dtype == DType::kInvalid) continue;
    graph.values[v].dtype = inferred.types[v].dtype;
    graph.values[v].shape = std::move(inferred.types[v].shape);
  }
  return absl::OkStatus();
}

}  // namespace bitmill
