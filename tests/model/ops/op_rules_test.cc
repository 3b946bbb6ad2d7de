// What operators refuse, and values that no other evaluator was asked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "model/ops/op_registry.h"
#include "model/reference.h"
#include "model/verify.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The message with which InferShapes refuses a graph of this one node on x (and constants).
struct Refusal {
  std::string name;
  std::string op;
  Shape x{1, 4, 6, 6};
  DType dtype = DType::kFloat32;
  std::vector<std::vector<float>> constants{};  // one-dimensional, unless `shapes` says otherwise
  std::vector<Shape> shapes{};
  std::map<std::string, Attribute> attributes{};
  std::string message{};
};

std::vector<Refusal> Refusals() {
  using Ints = std::vector<int64_t>;
  std::vector<Refusal> list;
  const auto add = [&](Refusal refusal) { list.push_back(std::move(refusal)); };
  const std::vector<float> w(36, 1.0F);
  const Shape w_shape{1, 4, 3, 3};
  add({.name = "ConvGroups",
       .op = "Conv",
       .constants = {w},
       .shapes = {w_shape},
       .attributes = {{"group", int64_t{2}}},
       .message = "groups"});
  add({.name = "ConvZeroGroup",
       .op = "Conv",
       .constants = {w},
       .shapes = {w_shape},
       .attributes = {{"group", int64_t{0}}},
       .message = "0 groups"});
  add({.name = "ConvZeroStride",
       .op = "Conv",
       .constants = {w},
       .shapes = {w_shape},
       .attributes = {{"strides", Ints{0, 1}}},
       .message = "strides contains 0"});
  add({.name = "ConvNegativePad",
       .op = "Conv",
       .constants = {w},
       .shapes = {w_shape},
       .attributes = {{"pads", Ints{0, 0, -1, 0}}},
       .message = "pads contains -1"});
  add({.name = "ConvHugeDilation",
       .op = "Conv",
       .constants = {w},
       .shapes = {w_shape},
       .attributes = {{"dilations", Ints{INT64_MAX, 1}}},
       .message = "dilations contains"});
  add({.name = "ConvKernelShape",
       .op = "Conv",
       .constants = {w},
       .shapes = {w_shape},
       .attributes = {{"kernel_shape", Ints{5, 5}}},
       .message = "kernel_shape says [5,5]"});
  add({.name = "ConvWindowTooLarge",
       .op = "Conv",
       .x = {1, 4, 2, 2},
       .constants = {w},
       .shapes = {w_shape},
       .message = "does not fit"});
  add({.name = "ConvAutoPad",
       .op = "Conv",
       .constants = {w},
       .shapes = {w_shape},
       .attributes = {{"auto_pad", std::string("SOME")}},
       .message = "auto_pad is 'SOME'"});
  add({.name = "PoolWithoutKernel", .op = "MaxPool", .message = "kernel_shape is missing"});
  add({.name = "PoolOfVolumes",
       .op = "MaxPool",
       .x = {1, 1, 2, 2, 2},
       .attributes = {{"kernel_shape", Ints{1, 1, 1}}},
       .message = "rank 3 and 4"});
  add({.name = "BatchNormChannels",
       .op = "BatchNormalization",
       .constants = {{1, 2}, {1, 2}, {1, 2}, {1, 2}},
       .message = "for 4 channels"});
  add({.name = "TransposeTwice",
       .op = "Transpose",
       .attributes = {{"perm", Ints{0, 1, 1, 2}}},
       .message = "not a permutation"});
  add({.name = "ConcatAxis",
       .op = "Concat",
       .attributes = {{"axis", int64_t{4}}},
       .message = "axis 4 is outside"});
  add({.name = "FlattenAxis",
       .op = "Flatten",
       .attributes = {{"axis", int64_t{5}}},
       .message = "axis 5"});
  add({.name = "DepthToSpaceBlock",
       .op = "DepthToSpace",
       .attributes = {{"blocksize", int64_t{3}}},
       .message = "blocksize 3"});
  add({.name = "DepthToSpaceNoBlock", .op = "DepthToSpace", .message = "blocksize is 0"});
  add({.name = "AddShapes", .op = "Add", .constants = {{1, 2}}, .message = "do not broadcast"});
  add({.name = "AddTypes",
       .op = "Add",
       .dtype = DType::kInt32,
       .constants = {{1}},
       .message = "wanted one type"});
  add({.name = "ClipBounds", .op = "Clip", .constants = {{1, 2}}, .message = "one element"});
  add({.name = "SoftmaxOfIntegers",
       .op = "Softmax",
       .dtype = DType::kInt32,
       .message = "wanted FP32"});
  add({.name = "CastToText",
       .op = "Cast",
       .attributes = {{"to", int64_t{8}}},
       .message = "element type 8"});
  add({.name = "QuantScale",
       .op = "Quant",
       .constants = {{0}, {0}, {8}},
       .message = "a scale is 0"});
  add({.name = "QuantBits",
       .op = "Quant",
       .constants = {{1}, {0}, {2.5F}},
       .message = "bit width is 2.5"});
  add({.name = "QuantRounding",
       .op = "Quant",
       .constants = {{1}, {0}, {8}},
       .attributes = {{"rounding_mode", std::string("DICE")}},
       .message = "'DICE'"});
  add({.name = "QuantBroadcast",
       .op = "Quant",
       .constants = {{1, 2}, {0}, {8}},
       .message = "do not broadcast"});
  add({.name = "ThresholdChannels",
       .op = "MultiThreshold",
       .constants = {{1, 2, 3, 4, 5, 6}},
       .shapes = {{3, 2}},
       .message = "thresholds for 3 channels"});
  add({.name = "ResizeLinear",
       .op = "Resize",
       .constants = {{0}, {1, 1, 2, 2}},
       .attributes = {{"mode", std::string("linear")}},
       .message = "mode 'linear'"});
  add({.name = "ResizeToNothing",
       .op = "Resize",
       .constants = {{0}, {1, 1, 0.01F, 1}},
       .message = "cannot resize"});
  add({.name = "ResizeByNaN",
       .op = "Resize",
       .constants = {{0}, {1, 1, NAN, 1}},
       .message = "a scale of nan"});
  return list;
}

class RefusalTest : public testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, SaysWhy) {
  const Refusal& refusal = GetParam();
  Graph graph;
  graph.opset = 13;
  const auto add_value = [&](const Shape& shape, DType dtype) {
    Value value;
    value.dtype = dtype;
    value.shape = shape;
    return graph.AddValue(std::move(value));
  };
  Node node;
  node.name = "it";
  node.op = refusal.op;
  node.attributes = refusal.attributes;
  node.inputs.push_back(add_value(refusal.x, refusal.dtype));
  graph.inputs.push_back({node.inputs[0], "x", refusal.dtype, {}});
  for (size_t i = 0; i < refusal.constants.size(); ++i) {
    const std::vector<float>& values = refusal.constants[i];
    const Shape shape =
        i < refusal.shapes.size() ? refusal.shapes[i] : Shape{static_cast<int64_t>(values.size())};
    auto tensor = Tensor::Create(DType::kFloat32, shape);
    ASSERT_TRUE(tensor.ok());
    std::copy(values.begin(), values.end(), tensor->span<float>().begin());
    node.inputs.push_back(add_value(shape, DType::kFloat32));
    graph.value(node.inputs.back()).constant = std::make_shared<const Tensor>(*std::move(tensor));
  }
  node.outputs.push_back(add_value({}, DType::kInvalid));
  graph.outputs.push_back({node.outputs[0], "y", DType::kInvalid, {}});
  graph.nodes.push_back(std::move(node));

  const absl::Status status = InferShapes(graph);
  EXPECT_TRUE(absl::IsInvalidArgument(status) || absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("'it'"), HasSubstr(refusal.message)));
}

INSTANTIATE_TEST_SUITE_P(Operators, RefusalTest, testing::ValuesIn(Refusals()),
                         [](const auto& test) { return test.param.name; });

TEST(OperatorValuesTest, HardTanhClampsToOne) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 3});
  const Graph graph = builder.Build({builder.Op("HardTanh", {x})});
  EXPECT_THAT(RunOriginal(graph, {-3, 0.5F, 2}), ElementsAre(-1, 0.5F, 1));
}

TEST(OperatorValuesTest, NegativeZeroCountsAsZeroForSigns) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  const Graph graph = builder.Build({builder.BipolarQuant(x)});
  EXPECT_THAT(RunOriginal(graph, {-0.0F, 0.0F}), ElementsAre(1, 1));
}

TEST(OperatorValuesTest, NaNIsMinusOneForBipolarQuant) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 1});
  const Graph graph = builder.Build({builder.BipolarQuant(x)});
  EXPECT_THAT(RunOriginal(graph, {NAN}), ElementsAre(-1));
}

TEST(OperatorValuesTest, IntegerArithmeticWrapsAround) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 1}, DType::kInt32);
  constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();
  const ValueId minus_one = builder.ConstantOf<int32_t>(DType::kInt32, {1}, {-1});
  const Graph graph = builder.Build({builder.Op("Div", {x, minus_one}), builder.Op("Neg", {x}),
                                     builder.Op("Abs", {x}), builder.Op("Add", {x, minus_one})});
  const Shape shape{1, 1};
  const auto outputs = RunReference(graph, {TensorView{DType::kInt32, shape, &kLowest}});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(outputs->at(i).span<int32_t>()[0], kLowest) << i;
  EXPECT_EQ(outputs->at(3).span<int32_t>()[0], std::numeric_limits<int32_t>::max());
}

TEST(OperatorValuesTest, IntegerDivisionByZeroIsAnError) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 1}, DType::kInt64);
  const ValueId y = builder.Input("y", {1, 1}, DType::kInt64);
  const Graph graph = builder.Build({builder.Op("Div", {x, y})});
  const Shape shape{1, 1};
  const int64_t one = 1;
  const int64_t zero = 0;
  const auto outputs = RunReference(
      graph, {TensorView{DType::kInt64, shape, &one}, TensorView{DType::kInt64, shape, &zero}});
  EXPECT_TRUE(absl::IsInvalidArgument(outputs.status()));
}

TEST(OperatorValuesTest, CastSaturatesAndTurnsNaNIntoZero) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 4});
  const ValueId bytes = builder.Op("Cast", {x}, {{"to", int64_t{3}}});
  const Graph graph = builder.Build({builder.Op("Cast", {bytes}, {{"to", int64_t{1}}})});
  EXPECT_THAT(RunOriginal(graph, {1e30F, -1e30F, NAN, -2.7F}), ElementsAre(127, -128, 0, -2));
}

TEST(OperatorValuesTest, TopKOfValuesThatAreNotNumbersIsAnError) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  const ValueId k = builder.ConstantOf<int64_t>(DType::kInt64, {1}, {2});
  const Graph graph = builder.Build({builder.Op("TopK", {x, k})});
  const float values[] = {NAN, NAN};
  const Shape shape{1, 2};
  const auto outputs = RunReference(graph, {TensorView{DType::kFloat32, shape, values}});
  EXPECT_FALSE(outputs.ok());
}

TEST(OpRegistryTest, KnowsQonnxOperatorsInTheirDomainsOnly) {
  for (const char* domain : {"", "onnx.brevitas", "finn.custom_op.general",
                             "qonnx.custom_op.general", "qonnx.custom_op.channels_last"}) {
    EXPECT_NE(FindOp(domain, "Quant"), nullptr) << domain;
  }
  EXPECT_EQ(FindOp("com.example", "Quant"), nullptr);
  EXPECT_NE(FindOp("ai.onnx", "Relu"), nullptr);
  EXPECT_EQ(FindOp("onnx.brevitas", "Relu"), nullptr);
  EXPECT_NE(FindOp("qonnx.custom_op.channels_last", "Conv"), nullptr);
  EXPECT_EQ(FindOp("", "Loop"), nullptr);
}

}  // namespace
}  // namespace bitmill
