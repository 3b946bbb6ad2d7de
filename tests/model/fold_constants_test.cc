#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/passes/passes.h"
#include "model/verify.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using testing::ElementsAre;

TEST(FoldConstantsTest, EvaluatesWeightQuantizersAndDropsWhatFedThem) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  const ValueId weights = builder.Constant({2, 2}, {0.3F, -0.2F, -0.7F, 0.0F});
  Graph graph = builder.Build({builder.Op("MatMul", {x, builder.BipolarQuant(weights, 0.5F)})});
  ASSERT_TRUE(FoldConstants(graph).ok());
  ASSERT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(graph.nodes[0].op, "MatMul");
  EXPECT_EQ(graph.values.size(), 3U);  // input, folded weights, output
  const Tensor& folded = *graph.value(graph.nodes[0].inputs[1]).constant;
  EXPECT_THAT(folded.span<float>(), ElementsAre(0.5F, -0.5F, -0.5F, 0.5F));
  EXPECT_TRUE(VerifyGraph(graph).ok());
  EXPECT_TRUE(graph.batchable);
}

TEST(FoldConstantsTest, RemovesWhatPassesItsInputOn) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  const ValueId dropped = builder.Op("Dropout", {builder.Op("Identity", {x})});
  const ValueId cast = builder.Op("Cast", {dropped}, {{"to", int64_t{1}}});
  Graph graph = builder.Build({builder.Op("Relu", {cast})});
  ASSERT_TRUE(FoldConstants(graph).ok());
  ASSERT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(graph.nodes[0].inputs[0], graph.inputs[0].value);
}

TEST(FoldConstantsTest, MovesAnOutputInFrontOfAnIdentity) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  Graph graph = builder.Build({builder.Op("Identity", {builder.Op("Relu", {x})})});
  ASSERT_TRUE(FoldConstants(graph).ok());
  ASSERT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(graph.nodes[0].op, "Relu");
  EXPECT_EQ(graph.outputs[0].value, graph.nodes[0].outputs[0]);
}

TEST(FoldConstantsTest, KeepsTheIdentityOfAnInputThatIsAnOutput) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  Graph graph = builder.Build({builder.Op("Identity", {x})});
  ASSERT_TRUE(FoldConstants(graph).ok());
  EXPECT_EQ(graph.nodes.size(), 1U);
}

TEST(FoldConstantsTest, KeepsTwoOutputsApart) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  const ValueId relu = builder.Op("Relu", {x});
  Graph graph = builder.Build({relu, builder.Op("Identity", {relu})});
  ASSERT_TRUE(FoldConstants(graph).ok());
  EXPECT_NE(graph.outputs[0].value, graph.outputs[1].value);
  EXPECT_TRUE(VerifyGraph(graph).ok());
}

TEST(FoldConstantsTest, DropsNodesThatNobodyNeeds) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  builder.Op("Exp", {x});
  Graph graph = builder.Build({builder.Op("Relu", {x})});
  ASSERT_TRUE(FoldConstants(graph).ok());
  EXPECT_EQ(graph.nodes.size(), 1U);
}

TEST(FoldConstantsTest, LeavesLoweredNodesAlone) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  Graph graph = builder.Build({builder.Op("Neg", {builder.Op("Identity", {x})})});
  graph.nodes[0].lowered = ElementwiseOp{};
  ASSERT_TRUE(FoldConstants(graph).ok());
  EXPECT_EQ(graph.nodes.size(), 2U);
}

TEST(FoldConstantsTest, ChangesNothingTheSecondTime) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  const ValueId sum = builder.Op("Add", {builder.Scalar(1), builder.Scalar(2)});
  Graph graph = builder.Build({builder.Op("Mul", {x, sum})});
  ASSERT_TRUE(FoldConstants(graph).ok());
  const size_t values = graph.values.size();
  ASSERT_TRUE(FoldConstants(graph).ok());
  EXPECT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(graph.values.size(), values);
}

}  // namespace
}  // namespace bitmill
