#include "model/onnx/import_graph.h"

#include <memory>
#include <optional>
#include <queue>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "model/onnx/import_node.h"
#include "model/onnx/import_tensor.h"

namespace bitmill {
namespace {

constexpr int64_t kMinOpset = 7;
constexpr int64_t kMaxOpset = 21;
constexpr int kMaxRank = 16;

absl::Status Prefixed(const std::string& prefix, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(prefix, " ", status.message()));
}

// The types of inputs and outputs as the file declares them.
struct Declared {
  DType dtype = DType::kInvalid;
  std::optional<std::vector<int64_t>> dims;  // -1 for symbolic or unknown; nothing: no shape
};

absl::StatusOr<Declared> ImportType(const onnx::ValueInfoProto& info) {
  Declared declared;
  if (!info.has_type()) return declared;
  if (!info.type().has_tensor_type()) {
    return absl::UnimplementedError("is not a tensor; sequences and maps are not supported");
  }
  const auto& type = info.type().tensor_type();
  declared.dtype = DTypeFromOnnx(type.elem_type());
  if (declared.dtype == DType::kInvalid) {
    return absl::UnimplementedError(
        absl::StrCat("has ONNX element type ", type.elem_type(), ", which is not supported"));
  }
  if (!type.has_shape()) return declared;
  if (type.shape().dim_size() > kMaxRank) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has ", type.shape().dim_size(), " dimensions, at most ", kMaxRank, " are allowed"));
  }
  declared.dims.emplace();
  for (const auto& dim : type.shape().dim()) {
    declared.dims->push_back(dim.has_dim_value() && dim.dim_value() > 0 ? dim.dim_value() : -1);
  }
  return declared;
}

class Importer {
 public:
  explicit Importer(const onnx::GraphProto& proto) : proto_(proto) {}

  absl::Status Run();

  Graph graph;

 private:
  absl::Status ImportInitializers();
  absl::Status ImportInputs();
  absl::Status ImportInput(const onnx::ValueInfoProto& info);
  absl::Status DeclareNodeOutputs();
  absl::Status ImportNodes();
  absl::Status SortNodes(std::vector<Node> nodes);
  absl::Status ImportOutputs();

  // Takes the name for a value; InvalidArgument when it is taken already.
  absl::Status Define(const std::string& name, ValueId id);
  ValueId AddCast(ValueId from, DType to, std::string name);

  const onnx::GraphProto& proto_;
  std::unordered_map<std::string, ValueId> names_;
  std::unordered_set<std::string> used_;  // names that nodes or outputs read
  std::vector<Node> input_casts_;
};

absl::Status Importer::Define(const std::string& name, ValueId id) {
  if (!names_.emplace(name, id).second) {
    return absl::InvalidArgumentError(absl::StrCat("value '", name, "' is defined twice"));
  }
  return absl::OkStatus();
}

absl::Status Importer::ImportInitializers() {
  if (proto_.sparse_initializer_size() > 0) {
    return absl::UnimplementedError("the graph has sparse initializers, which are not supported");
  }
  for (const onnx::TensorProto& initializer : proto_.initializer()) {
    if (initializer.name().empty()) {
      return absl::InvalidArgumentError("the graph has an initializer with no name");
    }
    auto tensor = ImportTensor(initializer);
    if (!tensor.ok()) {
      return Prefixed(absl::StrCat("initializer '", initializer.name(), "'"), tensor.status());
    }
    Value value;
    value.name = initializer.name();
    value.dtype = tensor->dtype();
    value.shape = tensor->shape();
    value.constant = std::make_shared<const Tensor>(*std::move(tensor));
    const ValueId id = graph.AddValue(std::move(value));
    BITMILL_RETURN_IF_ERROR(Define(initializer.name(), id));
  }
  return absl::OkStatus();
}

ValueId Importer::AddCast(ValueId from, DType to, std::string name) {
  Value value;
  value.name = std::move(name);
  value.dtype = to;
  value.shape = graph.value(from).shape;
  const ValueId id = graph.AddValue(std::move(value));
  Node cast;
  cast.name = absl::StrCat(graph.value(from).name, "/cast");
  cast.op = "Cast";
  cast.inputs = {from};
  cast.outputs = {id};
  int64_t type = onnx::TensorProto::FLOAT;
  if (to == DType::kFloat16) type = onnx::TensorProto::FLOAT16;
  if (to == DType::kBFloat16) type = onnx::TensorProto::BFLOAT16;
  cast.attributes.emplace("to", type);
  input_casts_.push_back(std::move(cast));
  return id;
}

absl::Status Importer::ImportInput(const onnx::ValueInfoProto& info) {
  BITMILL_ASSIGN_OR_RETURN(const Declared declared, ImportType(info));
  if (declared.dtype == DType::kInvalid) return absl::InvalidArgumentError("has no element type");
  if (!declared.dims) {
    return absl::InvalidArgumentError("has no shape; only its first dimension may be unknown");
  }
  Value value;
  value.name = info.name();
  value.dtype = declared.dtype;
  for (size_t i = 0; i < declared.dims->size(); ++i) {
    int64_t dim = (*declared.dims)[i];
    if (dim < 0 && i > 0) {
      const auto& proto = info.type().tensor_type().shape().dim(static_cast<int>(i));
      return absl::UnimplementedError(absl::StrCat(
          "has an unknown size in dimension ", i,
          proto.dim_param().empty() ? "" : absl::StrCat(" ('", proto.dim_param(), "')"),
          "; only the first dimension, the batch, may vary"));
    }
    value.shape.push_back(dim < 0 ? 1 : dim);
  }
  if (!CheckedProduct(value.shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat("has shape ", ShapeToString(value.shape), ", which is too large"));
  }
  const ValueId id = graph.AddValue(std::move(value));
  graph.inputs.push_back({id, info.name(), declared.dtype, *declared.dims});
  const DType compute = ComputeType(declared.dtype);
  return Define(info.name(), compute == declared.dtype
                                 ? id
                                 : AddCast(id, compute, absl::StrCat(info.name(), "/fp32")));
}

absl::Status Importer::ImportInputs() {
  for (const onnx::ValueInfoProto& info : proto_.input()) {
    if (info.name().empty())
      return absl::InvalidArgumentError("the graph has an input with no name");
    // Weights are listed among the inputs by old exporters; what nobody reads is a leftover.
    if (names_.contains(info.name()) || !used_.contains(info.name())) continue;
    if (absl::Status status = ImportInput(info); !status.ok()) {
      return Prefixed(absl::StrCat("input '", info.name(), "'"), status);
    }
  }
  return absl::OkStatus();
}

absl::Status Importer::DeclareNodeOutputs() {
  for (const onnx::NodeProto& node : proto_.node()) {
    for (const std::string& name : node.output()) {
      if (name.empty()) continue;
      Value value;
      value.name = name;
      const ValueId id = graph.AddValue(std::move(value));
      BITMILL_RETURN_IF_ERROR(Define(name, id));
    }
  }
  return absl::OkStatus();
}

absl::Status Importer::ImportNodes() {
  std::vector<Node> nodes;
  nodes.reserve(static_cast<size_t>(proto_.node_size()));
  for (int i = 0; i < proto_.node_size(); ++i) {
    const onnx::NodeProto& proto = proto_.node(i);
    const std::string where =
        proto.name().empty() ? absl::StrCat("node #", i, " (", proto.op_type(), ")")
                             : absl::StrCat("node '", proto.name(), "' (", proto.op_type(), ")");
    auto imported = ImportNode(proto);
    if (!imported.ok()) return Prefixed(absl::StrCat(where, ":"), imported.status());
    Node node = *std::move(imported);
    for (const std::string& name : proto.input()) {
      if (name.empty()) {
        node.inputs.push_back(kNoValue);
        continue;
      }
      const auto found = names_.find(name);
      if (found == names_.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, ": reads '", name, "', which nothing defines"));
      }
      node.inputs.push_back(found->second);
    }
    for (const std::string& name : proto.output()) {
      node.outputs.push_back(name.empty() ? kNoValue : names_.at(name));
    }
    while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
    while (!node.outputs.empty() && node.outputs.back() == kNoValue) node.outputs.pop_back();
    if (node.outputs.empty()) continue;  // nothing can depend on it
    nodes.push_back(std::move(node));
  }
  return SortNodes(std::move(nodes));
}

// Nodes whose inputs are there, lowest position in the file first: a sorted file keeps its order.
absl::Status Importer::SortNodes(std::vector<Node> nodes) {
  std::vector<std::vector<size_t>> readers(graph.values.size());
  std::vector<size_t> waiting(nodes.size(), 0);
  std::vector<bool> made(graph.values.size(), true);
  for (const Node& node : nodes) {
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) made[static_cast<size_t>(id)] = false;
    }
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t n = 0; n < nodes.size(); ++n) {
    for (const ValueId id : nodes[n].inputs) {
      if (id == kNoValue || made[static_cast<size_t>(id)]) continue;
      readers[static_cast<size_t>(id)].push_back(n);
      ++waiting[n];
    }
    if (waiting[n] == 0) ready.push(n);
  }
  graph.nodes = std::move(input_casts_);
  input_casts_.clear();
  std::vector<bool> done(nodes.size(), false);
  while (!ready.empty()) {
    const size_t n = ready.top();
    ready.pop();
    done[n] = true;
    for (const ValueId id : nodes[n].outputs) {
      if (id == kNoValue) continue;
      for (const size_t reader : readers[static_cast<size_t>(id)]) {
        if (--waiting[reader] == 0) ready.push(reader);
      }
    }
    graph.nodes.push_back(std::move(nodes[n]));
  }
  for (size_t n = 0; n < nodes.size(); ++n) {
    if (done[n]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(DescribeNode(graph, nodes[n]), ": depends on its own output"));
  }
  return absl::OkStatus();
}

absl::Status Importer::ImportOutputs() {
  if (proto_.output_size() == 0) return absl::InvalidArgumentError("the graph has no output");
  std::vector<bool> by_node(graph.values.size(), false);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) by_node[static_cast<size_t>(id)] = true;
    }
  }
  std::unordered_set<std::string> seen;
  for (const onnx::ValueInfoProto& info : proto_.output()) {
    const std::string where = absl::StrCat("output '", info.name(), "'");
    const auto found = names_.find(info.name());
    if (info.name().empty() || found == names_.end()) {
      return absl::InvalidArgumentError(absl::StrCat(where, " is defined by nothing"));
    }
    if (!seen.insert(info.name()).second) {
      return absl::InvalidArgumentError(absl::StrCat(where, " is listed twice"));
    }
    auto declared = ImportType(info);
    if (!declared.ok()) return Prefixed(where, declared.status());
    ValueId id = found->second;
    DType dtype = declared->dtype;
    if (ComputeType(dtype) != dtype) {
      id = AddCast(id, dtype, info.name());
    } else if (!by_node[static_cast<size_t>(id)]) {
      // A constant or an input that is an output as well: outputs are always made by a node.
      Value value;
      value.name = info.name();
      Node identity;
      identity.op = "Identity";
      identity.name = absl::StrCat(info.name(), "/identity");
      identity.inputs = {id};
      id = graph.AddValue(std::move(value));
      identity.outputs = {id};
      input_casts_.push_back(std::move(identity));
    }
    graph.outputs.push_back(
        {id, info.name(), dtype, declared->dims.value_or(std::vector<int64_t>())});
  }
  for (Node& node : input_casts_) graph.nodes.push_back(std::move(node));
  input_casts_.clear();
  return absl::OkStatus();
}

absl::Status Importer::Run() {
  graph.name = proto_.name();
  for (const onnx::NodeProto& node : proto_.node()) {
    used_.insert(node.input().begin(), node.input().end());
  }
  for (const onnx::ValueInfoProto& info : proto_.output()) used_.insert(info.name());
  BITMILL_RETURN_IF_ERROR(ImportInitializers());
  BITMILL_RETURN_IF_ERROR(ImportInputs());
  BITMILL_RETURN_IF_ERROR(DeclareNodeOutputs());
  BITMILL_RETURN_IF_ERROR(ImportNodes());
  return ImportOutputs();
}

absl::StatusOr<int64_t> OnnxOpset(const onnx::ModelProto& model) {
  int64_t opset = 0;
  for (const auto& import : model.opset_import()) {
    if (!import.domain().empty() && import.domain() != "ai.onnx") continue;
    if (opset != 0 && opset != import.version()) {
      return absl::InvalidArgumentError(absl::StrCat("imports the ONNX operators twice, as opset ",
                                                     opset, " and ", import.version()));
    }
    opset = import.version();
  }
  if (opset == 0) return absl::InvalidArgumentError("imports no opset of the ONNX operators");
  if (opset < kMinOpset || opset > kMaxOpset) {
    return absl::UnimplementedError(
        absl::StrCat("uses opset ", opset, "; ", kMinOpset, " to ", kMaxOpset, " are supported"));
  }
  return opset;
}

}  // namespace

absl::StatusOr<Graph> ImportGraph(const onnx::ModelProto& model, const std::string& source) {
  if (!model.has_graph()) return absl::InvalidArgumentError("holds no graph");
  BITMILL_ASSIGN_OR_RETURN(const int64_t opset, OnnxOpset(model));
  if (model.functions_size() > 0) {
    return absl::UnimplementedError("defines functions, which are not supported");
  }
  if (model.training_info_size() > 0) {
    return absl::UnimplementedError("holds training information; export it for inference");
  }
  Importer importer(model.graph());
  importer.graph.source = source;
  importer.graph.opset = opset;
  BITMILL_RETURN_IF_ERROR(importer.Run());
  return std::move(importer.graph);
}

}  // namespace bitmill
