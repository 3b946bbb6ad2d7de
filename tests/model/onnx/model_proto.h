// ONNX files by hand, as text that tests can bend: small helpers around the generated messages.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "onnx/onnx.pb.h"

namespace bitmill {

// A model of opset 13 with nothing in it.
onnx::ModelProto EmptyModel(int64_t opset = 13);

// Dimensions: a number, or a name for a symbolic one ("" for an unknown one).
struct Dim {
  Dim(int64_t number) : value(number) {}  // NOLINT(google-explicit-constructor)
  Dim(const char* text) : name(text) {}   // NOLINT(google-explicit-constructor)
  int64_t value = -1;
  std::string name;
};

void AddInput(onnx::ModelProto& model, const std::string& name, std::initializer_list<Dim> dims,
              int32_t type = onnx::TensorProto::FLOAT);
void AddOutput(onnx::ModelProto& model, const std::string& name);
onnx::NodeProto* AddNode(onnx::ModelProto& model, const std::string& op,
                         std::initializer_list<const char*> inputs,
                         std::initializer_list<const char*> outputs);
void SetInt(onnx::NodeProto* node, const std::string& name, int64_t value);
void SetInts(onnx::NodeProto* node, const std::string& name, const std::vector<int64_t>& values);
onnx::TensorProto* AddFloats(onnx::ModelProto& model, const std::string& name,
                             std::initializer_list<int64_t> dims, const std::vector<float>& values);
onnx::TensorProto* AddInts(onnx::ModelProto& model, const std::string& name,
                           std::initializer_list<int64_t> dims, const std::vector<int64_t>& values);

// x [batch,4] -> Relu -> y: a valid model to start from.
onnx::ModelProto ReluModel();

absl::StatusOr<Graph> Read(const onnx::ModelProto& model);

}  // namespace bitmill
