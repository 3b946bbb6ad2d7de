#include "tests/model/passes/graph_builder.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "model/passes/check_lowered.h"
#include "model/passes/lowered_reference.h"
#include "model/reference.h"
#include "model/verify.h"

namespace bitmill {
namespace {

Tensor InputTensor(const Graph& graph, const std::vector<float>& values) {
  auto tensor = Tensor::Create(DType::kFloat32, graph.value(graph.inputs[0].value).shape);
  BITMILL_CHECK(tensor.ok() && tensor->elements() == static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), tensor->span<float>().begin());
  return *std::move(tensor);
}

std::vector<float> FirstOutput(const absl::StatusOr<std::vector<Tensor>>& outputs) {
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  if (!outputs.ok() || outputs->empty()) return {};
  const absl::Span<const float> values = (*outputs)[0].span<float>();
  return {values.begin(), values.end()};
}

}  // namespace

GraphBuilder::GraphBuilder(int64_t opset) { graph_.opset = opset; }

ValueId GraphBuilder::Add(Value value) {
  if (value.name.empty()) value.name = absl::StrCat("v", graph_.values.size());
  return graph_.AddValue(std::move(value));
}

ValueId GraphBuilder::Input(const std::string& name, const Shape& shape, DType dtype) {
  Value value;
  value.name = name;
  value.dtype = dtype;
  value.shape = shape;
  const ValueId id = Add(std::move(value));
  graph_.inputs.push_back({id, name, dtype, {shape.begin(), shape.end()}});
  return id;
}

ValueId GraphBuilder::Constant(const Shape& shape, const std::vector<float>& values) {
  return ConstantOf<float>(DType::kFloat32, shape, values);
}

ValueId GraphBuilder::Op(const std::string& op, const std::vector<ValueId>& inputs,
                         std::map<std::string, Attribute> attributes) {
  Value value;
  value.dtype = DType::kFloat32;
  const ValueId output = Add(std::move(value));
  Node node;
  node.name = absl::StrCat(op, graph_.nodes.size());
  node.op = op;
  if (op == "Quant" || op == "BipolarQuant" || op == "MultiThreshold" || op == "Trunc") {
    node.domain = "qonnx.custom_op.general";
  }
  node.inputs = inputs;
  node.outputs = {output};
  node.attributes = std::move(attributes);
  graph_.nodes.push_back(std::move(node));
  return output;
}

ValueId GraphBuilder::BipolarQuant(ValueId input, float scale) {
  return Op("BipolarQuant", {input, Scalar(scale)});
}

ValueId GraphBuilder::Quant(ValueId input, float scale, int bits, bool is_signed, bool narrow) {
  return Op("Quant", {input, Scalar(scale), Scalar(0.0F), Scalar(static_cast<float>(bits))},
            {{"signed", int64_t{is_signed}},
             {"narrow", int64_t{narrow}},
             {"rounding_mode", std::string("ROUND")}});
}

ValueId GraphBuilder::MultiThreshold(ValueId input, int64_t channels,
                                     const std::vector<float>& thresholds, float out_scale,
                                     float out_bias) {
  const auto steps = static_cast<int64_t>(thresholds.size()) / channels;
  return Op("MultiThreshold", {input, Constant({channels, steps}, thresholds)},
            {{"out_scale", out_scale}, {"out_bias", out_bias}});
}

Graph GraphBuilder::Build(const std::vector<ValueId>& outputs) {
  Graph graph = graph_;
  for (const ValueId id : outputs) {
    graph.outputs.push_back({id, graph.value(id).name, DType::kFloat32, {}});
  }
  absl::Status status = InferShapes(graph);
  EXPECT_TRUE(status.ok()) << status;
  for (GraphPort& port : graph.outputs) port.dtype = graph.value(port.value).dtype;
  status = VerifyGraph(graph);
  EXPECT_TRUE(status.ok()) << status;
  return graph;
}

std::vector<std::string> LoweredOps(const Graph& graph) {
  constexpr const char* kNames[] = {"",           "quantize",  "dequantize",  "conv",
                                    "max_pool",   "transpose", "elementwise", "float_conv",
                                    "float_dense"};
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) {
    const size_t kind = node.lowered.index();
    names.push_back(kind == 0 ? node.op : kNames[kind]);
  }
  return names;
}

std::vector<float> RunOriginal(const Graph& graph, const std::vector<float>& input) {
  return RunOriginalOn(graph, InputTensor(graph, input));
}

std::vector<float> RunLowered(const Graph& lowered, const std::vector<float>& input) {
  return RunLoweredOn(lowered, InputTensor(lowered, input));
}

std::vector<float> RunOriginalOn(const Graph& graph, const Tensor& input) {
  return FirstOutput(RunReference(graph, {input.view()}));
}

std::vector<float> RunLoweredOn(const Graph& lowered, const Tensor& input) {
  // What a plan file must pass when it is read again.
  const absl::Status good[] = {VerifyGraph(lowered), CheckLowered(lowered)};
  for (const absl::Status& status : good) EXPECT_TRUE(status.ok()) << status;
  return FirstOutput(RunLoweredReference(lowered, {input.view()}));
}

}  // namespace bitmill
