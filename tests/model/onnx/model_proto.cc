#include "tests/model/onnx/model_proto.h"

#include "model/onnx/onnx_reader.h"

namespace bitmill {

onnx::ModelProto EmptyModel(int64_t opset) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(opset);
  model.mutable_graph()->set_name("test");
  return model;
}

void AddInput(onnx::ModelProto& model, const std::string& name, std::initializer_list<Dim> dims,
              int32_t type) {
  onnx::ValueInfoProto* info = model.mutable_graph()->add_input();
  info->set_name(name);
  auto* tensor = info->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(type);
  tensor->mutable_shape();
  for (const Dim& dim : dims) {
    auto* proto = tensor->mutable_shape()->add_dim();
    if (dim.value >= 0) {
      proto->set_dim_value(dim.value);
    } else if (!dim.name.empty()) {
      proto->set_dim_param(dim.name);
    }
  }
}

void AddOutput(onnx::ModelProto& model, const std::string& name) {
  model.mutable_graph()->add_output()->set_name(name);
}

onnx::NodeProto* AddNode(onnx::ModelProto& model, const std::string& op,
                         std::initializer_list<const char*> inputs,
                         std::initializer_list<const char*> outputs) {
  onnx::NodeProto* node = model.mutable_graph()->add_node();
  node->set_op_type(op);
  for (const char* input : inputs) node->add_input(input);
  for (const char* output : outputs) node->add_output(output);
  return node;
}

void SetInt(onnx::NodeProto* node, const std::string& name, int64_t value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

void SetInts(onnx::NodeProto* node, const std::string& name, const std::vector<int64_t>& values) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute->add_ints(value);
}

onnx::TensorProto* AddFloats(onnx::ModelProto& model, const std::string& name,
                             std::initializer_list<int64_t> dims,
                             const std::vector<float>& values) {
  onnx::TensorProto* tensor = model.mutable_graph()->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  for (const int64_t dim : dims) tensor->add_dims(dim);
  for (const float value : values) tensor->add_float_data(value);
  return tensor;
}

onnx::TensorProto* AddInts(onnx::ModelProto& model, const std::string& name,
                           std::initializer_list<int64_t> dims,
                           const std::vector<int64_t>& values) {
  onnx::TensorProto* tensor = model.mutable_graph()->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::INT64);
  for (const int64_t dim : dims) tensor->add_dims(dim);
  for (const int64_t value : values) tensor->add_int64_data(value);
  return tensor;
}

onnx::ModelProto ReluModel() {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"batch", 4});
  AddNode(model, "Relu", {"x"}, {"y"})->set_name("relu1");
  AddOutput(model, "y");
  return model;
}

absl::StatusOr<Graph> Read(const onnx::ModelProto& model) {
  return ReadOnnx(model.SerializeAsString(), "model.onnx");
}

}  // namespace bitmill
