// Graphs that no reader makes: broken indices, order and types; and graphs that are lowered
// already.
#include "model/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

// x [1,3] -> Relu -> Neg -> output
Graph TwoNodes() {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 3});
  return builder.Build({builder.Op("Neg", {builder.Op("Relu", {x})})});
}

std::string Refused(const Graph& graph) {
  const absl::Status status = VerifyGraph(graph);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(VerifyGraphTest, AcceptsAGoodGraph) {
  const absl::Status status = VerifyGraph(TwoNodes());
  EXPECT_TRUE(status.ok()) << status;
}

TEST(VerifyGraphTest, RefusesIndicesOutOfRange) {
  for (const ValueId bad : {-2, 3, 1000}) {
    Graph input = TwoNodes();
    input.nodes[0].inputs[0] = bad;
    EXPECT_THAT(Refused(input), HasSubstr("Relu"));
    Graph output = TwoNodes();
    output.nodes[1].outputs[0] = bad;
    EXPECT_THAT(Refused(output), HasSubstr("Neg"));
    Graph port = TwoNodes();
    port.outputs[0].value = bad;
    EXPECT_THAT(Refused(port), HasSubstr("refers to value"));
  }
  Graph absent = TwoNodes();
  absent.inputs[0].value = kNoValue;
  EXPECT_THAT(Refused(absent), HasSubstr("refers to value"));
}

TEST(VerifyGraphTest, RefusesValuesThatAreDefinedTwice) {
  Graph graph = TwoNodes();
  graph.nodes[1].outputs[0] = graph.nodes[0].outputs[0];
  EXPECT_THAT(Refused(graph), HasSubstr("defined elsewhere"));
  Graph input = TwoNodes();
  input.nodes[1].outputs[0] = input.inputs[0].value;
  EXPECT_THAT(Refused(input), HasSubstr("defined elsewhere"));
}

TEST(VerifyGraphTest, RefusesNodesOutOfOrder) {
  Graph graph = TwoNodes();
  std::swap(graph.nodes[0], graph.nodes[1]);
  EXPECT_THAT(Refused(graph), HasSubstr("before it is defined"));
}

TEST(VerifyGraphTest, RefusesOutputsThatNothingMakes) {
  Graph graph = TwoNodes();
  graph.nodes.pop_back();
  EXPECT_THAT(Refused(graph), HasSubstr("defined by nothing"));
}

TEST(VerifyGraphTest, RefusesTypesThatTheOperatorDoesNotGive) {
  Graph shape = TwoNodes();
  shape.value(shape.nodes[0].outputs[0]).shape = {1, 4};
  EXPECT_THAT(Refused(shape), testing::AllOf(HasSubstr("[1,4]"), HasSubstr("[1,3]")));
  Graph dtype = TwoNodes();
  dtype.value(dtype.nodes[0].outputs[0]).dtype = DType::kInt32;
  EXPECT_THAT(Refused(dtype), testing::AllOf(HasSubstr("INT32"), HasSubstr("FP32")));
}

TEST(VerifyGraphTest, RefusesMissingAndSurplusInputs) {
  Graph missing = TwoNodes();
  missing.nodes[0].inputs.clear();
  EXPECT_THAT(Refused(missing), HasSubstr("has 0 inputs"));
  Graph absent = TwoNodes();
  absent.nodes[0].inputs[0] = kNoValue;
  EXPECT_THAT(Refused(absent), HasSubstr("input 0 is absent"));
  Graph surplus = TwoNodes();
  surplus.nodes[0].inputs.push_back(surplus.inputs[0].value);
  EXPECT_THAT(Refused(surplus), HasSubstr("has 2 inputs"));
}

TEST(VerifyGraphTest, RefusesAbsurdShapes) {
  Graph graph = TwoNodes();
  graph.value(graph.inputs[0].value).shape = {0, int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THAT(Refused(graph), HasSubstr("too large"));
  graph.value(graph.inputs[0].value).shape = {-1, 3};
  EXPECT_THAT(Refused(graph), HasSubstr("too large"));
}

TEST(VerifyGraphTest, TakesTheTypesOfLoweredNodesAsTheyAre) {
  Graph graph = TwoNodes();
  // A lowered node that gives what the operator of its name would not.
  graph.nodes[0].lowered = ElementwiseOp{};
  graph.value(graph.nodes[0].outputs[0]).shape = {1, 6};
  graph.value(graph.nodes[1].outputs[0]).shape = {1, 6};
  const absl::Status status = VerifyGraph(graph);
  EXPECT_TRUE(status.ok()) << status;
}

TEST(InferShapesTest, KeepsTheBatchFlagOfALoweredGraph) {
  Graph graph = TwoNodes();
  ASSERT_TRUE(graph.batchable);
  graph.nodes[0].lowered = ElementwiseOp{};
  ASSERT_TRUE(InferShapes(graph).ok());
  EXPECT_TRUE(graph.batchable);
  graph.batchable = false;
  ASSERT_TRUE(InferShapes(graph).ok());
  EXPECT_FALSE(graph.batchable);
}

}  // namespace
}  // namespace bitmill
