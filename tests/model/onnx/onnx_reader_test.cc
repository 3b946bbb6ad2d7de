// What the reader makes of files: names, order, types, batch; and how it refuses.
#include "model/onnx/onnx_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/reference.h"
#include "tests/model/onnx/model_proto.h"

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string MessageOf(const onnx::ModelProto& model, absl::StatusCode code) {
  const auto graph = Read(model);
  EXPECT_EQ(graph.status().code(), code) << graph.status();
  return std::string(graph.status().message());
}

std::string Refused(const onnx::ModelProto& model) {
  return MessageOf(model, absl::StatusCode::kInvalidArgument);
}
std::string Unsupported(const onnx::ModelProto& model) {
  return MessageOf(model, absl::StatusCode::kUnimplemented);
}

std::vector<float> RunOn(const Graph& graph, const std::vector<float>& input) {
  const Value& value = graph.value(graph.inputs[0].value);
  const auto outputs = RunReference(graph, {TensorView{value.dtype, value.shape, input.data()}});
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  if (!outputs.ok()) return {};
  const auto span = outputs->at(0).span<float>();
  return {span.begin(), span.end()};
}

TEST(OnnxReaderTest, ReadsAModelWithASymbolicBatch) {
  const auto graph = Read(ReluModel());
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_TRUE(graph->batchable);
  EXPECT_EQ(graph->opset, 13);
  EXPECT_EQ(graph->source, "model.onnx");
  ASSERT_EQ(graph->inputs.size(), 1U);
  EXPECT_EQ(graph->inputs[0].name, "x");
  EXPECT_EQ(graph->inputs[0].dtype, DType::kFloat32);
  EXPECT_THAT(graph->inputs[0].declared_shape, ElementsAre(-1, 4));
  EXPECT_THAT(graph->value(graph->inputs[0].value).shape, ElementsAre(1, 4));
  ASSERT_EQ(graph->outputs.size(), 1U);
  EXPECT_EQ(graph->outputs[0].name, "y");
  EXPECT_EQ(graph->outputs[0].dtype, DType::kFloat32);
  EXPECT_THAT(graph->outputs[0].declared_shape, ElementsAre(-1, 4));
  EXPECT_THAT(RunOn(*graph, {-1, 2, -3, 4}), ElementsAre(0, 2, 0, 4));
}

TEST(OnnxReaderTest, TakesAFirstDimensionThatIsUnknownForABatch) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"", 4});
  AddNode(model, "Relu", {"x"}, {"y"});
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_TRUE(graph->batchable);
  EXPECT_THAT(graph->inputs[0].declared_shape, ElementsAre(-1, 4));
}

TEST(OnnxReaderTest, RefusesOtherUnknownDimensionsByName) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "image", {"n", 3, 8, "width"});
  AddNode(model, "Relu", {"image"}, {"y"});
  AddOutput(model, "y");
  EXPECT_THAT(Unsupported(model),
              testing::AllOf(HasSubstr("'image'"), HasSubstr("dimension 3"), HasSubstr("'width'")));
}

TEST(OnnxReaderTest, RunsAFixedBatchAsAWhole) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {2, 2});
  AddNode(model, "Relu", {"x"}, {"y"});
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_FALSE(graph->batchable);
  EXPECT_THAT(graph->outputs[0].declared_shape, ElementsAre(2, 2));
  EXPECT_THAT(RunOn(*graph, {-1, 2, -3, 4}), ElementsAre(0, 2, 0, 4));
}

TEST(OnnxReaderTest, TakesListedInitializersForConstants) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2});
  AddInput(model, "b", {2});
  AddFloats(model, "b", {2}, {10, 20});
  AddNode(model, "Add", {"x", "b"}, {"y"});
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_EQ(graph->inputs.size(), 1U);
  EXPECT_THAT(RunOn(*graph, {1, 2}), ElementsAre(11, 22));
}

TEST(OnnxReaderTest, DropsInputsThatNobodyReads) {
  onnx::ModelProto model = ReluModel();
  AddInput(model, "left.over", {"anything", "goes"});
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->inputs.size(), 1U);
}

TEST(OnnxReaderTest, PutsNodesInOrder) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2});
  AddNode(model, "Neg", {"h"}, {"y"});
  AddNode(model, "Relu", {"x"}, {"h"});
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->nodes[0].op, "Relu");
  EXPECT_THAT(RunOn(*graph, {-1, 2}), ElementsAre(0, -2));
}

TEST(OnnxReaderTest, FoldsShapeArithmetic) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2, 3});
  AddNode(model, "Shape", {"x"}, {"shape"});
  AddInts(model, "zero", {1}, {0});
  AddNode(model, "Gather", {"shape", "zero"}, {"rows"});
  AddInts(model, "rest", {1}, {-1});
  SetInt(AddNode(model, "Concat", {"rows", "rest"}, {"target"}), "axis", 0);
  AddNode(model, "Reshape", {"x", "target"}, {"y"});
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_EQ(graph->nodes.size(), 1U);
  EXPECT_EQ(graph->nodes[0].op, "Reshape");
  EXPECT_TRUE(graph->batchable);
  EXPECT_THAT(graph->outputs[0].declared_shape, ElementsAre(-1, 6));
}

TEST(OnnxReaderTest, CastsHalfPrecisionAtTheEdges) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2}, onnx::TensorProto::FLOAT16);
  AddNode(model, "Relu", {"x"}, {"y"});
  AddOutput(model, "y");
  auto* type = model.mutable_graph()->mutable_output(0)->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx::TensorProto::FLOAT16);
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->inputs[0].dtype, DType::kFloat16);
  EXPECT_EQ(graph->outputs[0].dtype, DType::kFloat16);
  const uint16_t input[] = {0xbc00, 0x4000};  // -1, 2
  const Shape shape{1, 2};
  const auto outputs = RunReference(*graph, {TensorView{DType::kFloat16, shape, input}});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_THAT(outputs->at(0).span<uint16_t>(), ElementsAre(0, 0x4000));
}

TEST(OnnxReaderTest, MakesAnOutputOfAnInputOrAConstant) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2});
  AddFloats(model, "c", {1, 2}, {5, 6});
  AddOutput(model, "x");
  AddOutput(model, "c");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_FALSE(graph->batchable);  // the constant carries no batch
  EXPECT_THAT(RunOn(*graph, {1, 2}), ElementsAre(1, 2));
}

TEST(OnnxReaderTest, NamesTheUnknownOperatorAndWhatIsSupported) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2});
  auto* node = AddNode(model, "FusedMagic", {"x"}, {"y"});
  node->set_name("magic7");
  node->set_domain("com.example");
  AddOutput(model, "y");
  EXPECT_THAT(Unsupported(model),
              testing::AllOf(HasSubstr("model.onnx"), HasSubstr("magic7"), HasSubstr("com.example"),
                             HasSubstr("FusedMagic"), HasSubstr("MultiThreshold")));
}

TEST(OnnxReaderTest, RefusesAnOnnxOperatorInAnotherDomain) {
  onnx::ModelProto model = ReluModel();
  model.mutable_graph()->mutable_node(0)->set_domain("com.example");
  EXPECT_THAT(Unsupported(model), HasSubstr("operator Relu of domain 'com.example'"));
}

TEST(OnnxReaderTest, RefusesControlFlow) {
  onnx::ModelProto model = ReluModel();
  auto* attribute = model.mutable_graph()->mutable_node(0)->add_attribute();
  attribute->set_name("body");
  attribute->set_type(onnx::AttributeProto::GRAPH);
  attribute->mutable_g();
  EXPECT_THAT(Unsupported(model), testing::AllOf(HasSubstr("relu1"), HasSubstr("subgraph")));
}

TEST(OnnxReaderTest, RefusesOpsetsOutsideItsRange) {
  for (const int64_t opset : {1, 6, 22, 1000}) {
    onnx::ModelProto model = ReluModel();
    model.mutable_opset_import(0)->set_version(opset);
    EXPECT_THAT(Unsupported(model), HasSubstr("7 to 21 are supported"));
  }
  onnx::ModelProto model = ReluModel();
  model.clear_opset_import();
  EXPECT_THAT(Refused(model), HasSubstr("no opset"));
}

TEST(OnnxReaderTest, AcceptsQonnxOperatorsWithoutAnImportOfTheirDomain) {
  for (const char* domain : {"onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general",
                             "qonnx.custom_op.channels_last"}) {
    onnx::ModelProto model = EmptyModel();
    AddInput(model, "x", {"n", 2});
    AddFloats(model, "scale", {}, {0.5F});
    AddNode(model, "BipolarQuant", {"x", "scale"}, {"y"})->set_domain(domain);
    AddOutput(model, "y");
    const auto graph = Read(model);
    ASSERT_TRUE(graph.ok()) << graph.status();
    EXPECT_THAT(RunOn(*graph, {-3, 0}), ElementsAre(-0.5F, 0.5F));
  }
}

TEST(OnnxReaderTest, RefusesFunctionsTrainingAndSparseWeights) {
  onnx::ModelProto functions = ReluModel();
  functions.add_functions()->set_name("f");
  EXPECT_THAT(Unsupported(functions), HasSubstr("functions"));
  onnx::ModelProto training = ReluModel();
  training.add_training_info();
  EXPECT_THAT(Unsupported(training), HasSubstr("training"));
  onnx::ModelProto sparse = ReluModel();
  sparse.mutable_graph()->add_sparse_initializer();
  EXPECT_THAT(Unsupported(sparse), HasSubstr("sparse"));
}

TEST(OnnxReaderTest, RefusesACycle) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2});
  AddNode(model, "Add", {"x", "b"}, {"a"})->set_name("first");
  AddNode(model, "Relu", {"a"}, {"b"})->set_name("second");
  AddOutput(model, "b");
  EXPECT_THAT(Refused(model), testing::AllOf(HasSubstr("first"), HasSubstr("own output")));
}

TEST(OnnxReaderTest, RefusesNamesThatAreNotOrTwiceDefined) {
  onnx::ModelProto missing = ReluModel();
  missing.mutable_graph()->mutable_node(0)->set_input(0, "nothing");
  EXPECT_THAT(Refused(missing), testing::AllOf(HasSubstr("relu1"), HasSubstr("'nothing'")));
  onnx::ModelProto twice = ReluModel();
  AddNode(twice, "Neg", {"x"}, {"y"});
  EXPECT_THAT(Refused(twice), HasSubstr("'y' is defined twice"));
  onnx::ModelProto no_output = ReluModel();
  no_output.mutable_graph()->clear_output();
  EXPECT_THAT(Refused(no_output), HasSubstr("no output"));
  onnx::ModelProto output = ReluModel();
  AddOutput(output, "z");
  EXPECT_THAT(Refused(output), HasSubstr("output 'z'"));
}

TEST(OnnxReaderTest, RefusesAttributesOfTheWrongType) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 2});
  SetInts(AddNode(model, "Softmax", {"x"}, {"y"}), "axis", {1});
  AddOutput(model, "y");
  EXPECT_THAT(Refused(model),
              testing::AllOf(HasSubstr("Softmax"), HasSubstr("'axis'"), HasSubstr("wanted INT")));
}

TEST(OnnxReaderTest, RefusesShapesThatDoNotFit) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "x", {"n", 3});
  AddFloats(model, "w", {4, 2}, std::vector<float>(8, 1));
  AddNode(model, "MatMul", {"x", "w"}, {"y"})->set_name("dense");
  AddOutput(model, "y");
  EXPECT_THAT(Refused(model),
              testing::AllOf(HasSubstr("dense"), HasSubstr("[1,3]"), HasSubstr("[4,2]")));
}

}  // namespace
}  // namespace bitmill
