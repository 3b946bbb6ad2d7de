#include "model/onnx/import_node.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/onnx/import_tensor.h"

namespace bitmill {
namespace {

// Files older than IR version 3 do not say which field is meant.
onnx::AttributeProto::AttributeType TypeOf(const onnx::AttributeProto& proto) {
  if (proto.has_type() && proto.type() != onnx::AttributeProto::UNDEFINED) return proto.type();
  if (proto.has_f()) return onnx::AttributeProto::FLOAT;
  if (proto.has_i()) return onnx::AttributeProto::INT;
  if (proto.has_s()) return onnx::AttributeProto::STRING;
  if (proto.has_t()) return onnx::AttributeProto::TENSOR;
  if (proto.has_g()) return onnx::AttributeProto::GRAPH;
  if (proto.floats_size() > 0) return onnx::AttributeProto::FLOATS;
  if (proto.ints_size() > 0) return onnx::AttributeProto::INTS;
  if (proto.strings_size() > 0) return onnx::AttributeProto::STRINGS;
  return onnx::AttributeProto::UNDEFINED;
}

absl::StatusOr<Attribute> ImportAttribute(const onnx::AttributeProto& proto) {
  if (!proto.ref_attr_name().empty()) {
    return absl::UnimplementedError("refers to an attribute of a function");
  }
  switch (TypeOf(proto)) {
    case onnx::AttributeProto::FLOAT:
      return Attribute(proto.f());
    case onnx::AttributeProto::INT:
      return Attribute(static_cast<int64_t>(proto.i()));
    case onnx::AttributeProto::STRING:
      return Attribute(proto.s());
    case onnx::AttributeProto::TENSOR: {
      BITMILL_ASSIGN_OR_RETURN(Tensor tensor, ImportTensor(proto.t()));
      return Attribute(SharedTensor(std::make_shared<const Tensor>(std::move(tensor))));
    }
    case onnx::AttributeProto::FLOATS:
      return Attribute(std::vector<float>(proto.floats().begin(), proto.floats().end()));
    case onnx::AttributeProto::INTS:
      return Attribute(std::vector<int64_t>(proto.ints().begin(), proto.ints().end()));
    case onnx::AttributeProto::STRINGS:
      return Attribute(std::vector<std::string>(proto.strings().begin(), proto.strings().end()));
    case onnx::AttributeProto::GRAPH:
    case onnx::AttributeProto::GRAPHS:
      return absl::UnimplementedError("holds a subgraph; control flow is not supported");
    default:
      return absl::UnimplementedError("has a type that is not supported");
  }
}

}  // namespace

absl::StatusOr<Node> ImportNode(const onnx::NodeProto& proto) {
  Node node;
  node.name = proto.name();
  node.domain = proto.domain() == "ai.onnx" ? "" : proto.domain();
  node.op = proto.op_type();
  if (node.op.empty()) return absl::InvalidArgumentError("has no operator");
  for (const onnx::AttributeProto& attribute : proto.attribute()) {
    if (attribute.name().empty())
      return absl::InvalidArgumentError("has an attribute with no name");
    auto value = ImportAttribute(attribute);
    if (!value.ok()) {
      return absl::Status(value.status().code(), absl::StrCat("attribute '", attribute.name(), "' ",
                                                              value.status().message()));
    }
    if (!node.attributes.emplace(attribute.name(), *std::move(value)).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("attribute '", attribute.name(), "' occurs twice"));
    }
  }
  if (node.op == "Cast" && node.domain.empty()) {
    const auto to = node.attributes.find("to");
    if (to != node.attributes.end()) {
      if (int64_t* type = std::get_if<int64_t>(&to->second);
          type != nullptr &&
          (*type == onnx::TensorProto::FLOAT16 || *type == onnx::TensorProto::BFLOAT16)) {
        *type = onnx::TensorProto::FLOAT;
      }
    }
  }
  return node;
}

}  // namespace bitmill
