#include "model/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Graph AddTwoInputs() {
  GraphBuilder builder;
  const ValueId a = builder.Input("a", {1, 2});
  const ValueId b = builder.Input("b", {1, 2});
  return builder.Build({builder.Op("Add", {a, b}), builder.Op("Sub", {a, b})});
}

const Shape kShape{1, 2};
const float kA[] = {1, 2};
const float kB[] = {10, 20};

TEST(RunReferenceTest, GivesOutputsInTheOrderOfThePorts) {
  const auto outputs = RunReference(
      AddTwoInputs(), {TensorView{DType::kFloat32, kShape, kA}, {DType::kFloat32, kShape, kB}});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  ASSERT_EQ(outputs->size(), 2U);
  EXPECT_THAT(outputs->at(0).span<float>(), ElementsAre(11, 22));
  EXPECT_THAT(outputs->at(1).span<float>(), ElementsAre(-9, -18));
}

TEST(RunReferenceTest, RefusesInputsThatDoNotFit) {
  const Graph graph = AddTwoInputs();
  const TensorView good{DType::kFloat32, kShape, kA};
  EXPECT_TRUE(absl::IsInvalidArgument(RunReference(graph, {good}).status()));
  const Shape wide{1, 3};
  const auto shape = RunReference(graph, {good, TensorView{DType::kFloat32, wide, kB}});
  EXPECT_TRUE(absl::IsInvalidArgument(shape.status()));
  EXPECT_THAT(std::string(shape.status().message()),
              testing::AllOf(HasSubstr("'b'"), HasSubstr("[1,3]"), HasSubstr("[1,2]")));
  const auto dtype = RunReference(graph, {good, TensorView{DType::kInt32, kShape, kB}});
  EXPECT_TRUE(absl::IsInvalidArgument(dtype.status()));
}

TEST(RunReferenceTest, RefusesLoweredNodes) {
  Graph graph = AddTwoInputs();
  graph.nodes[0].lowered = ElementwiseOp{};
  const TensorView view{DType::kFloat32, kShape, kA};
  EXPECT_TRUE(absl::IsInvalidArgument(RunReference(graph, {view, view}).status()));
}

TEST(RunReferenceTest, NamesTheNodeThatFails) {
  GraphBuilder builder;
  const ValueId x = builder.Input("x", {1, 2});
  const ValueId index = builder.Input("index", {1}, DType::kInt64);
  const Graph graph = builder.Build({builder.Op("Gather", {x, index}, {{"axis", int64_t{1}}})});
  const int64_t beyond[] = {2};
  const Shape one{1};
  const auto outputs = RunReference(
      graph, {TensorView{DType::kFloat32, kShape, kA}, TensorView{DType::kInt64, one, beyond}});
  EXPECT_TRUE(absl::IsInvalidArgument(outputs.status()));
  EXPECT_THAT(std::string(outputs.status().message()), HasSubstr("Gather"));
}

}  // namespace
}  // namespace bitmill
