// Which graphs may be run row by row: one operator after the input, by table.
#include "model/batch_flow.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/model/onnx/model_proto.h"

namespace bitmill {
namespace {

using Edit = std::function<void(onnx::ModelProto&)>;

struct FlowCase {
  std::string name;
  bool batchable;
  Edit build;  // from x [n,4,2,2] to y
  int64_t opset = 13;
};

void Node(onnx::ModelProto& model, const char* op, std::initializer_list<const char*> inputs,
          const std::function<void(onnx::NodeProto*)>& attributes = nullptr) {
  onnx::NodeProto* node = AddNode(model, op, inputs, {"y"});
  if (attributes) attributes(node);
}

Edit Axis(const char* op, int64_t axis) {
  return [=](onnx::ModelProto& m) {
    Node(m, op, {"x"}, [=](onnx::NodeProto* node) { SetInt(node, "axis", axis); });
  };
}

Edit WithInts(const char* op, const char* attribute, const std::vector<int64_t>& values) {
  return [=](onnx::ModelProto& m) {
    Node(m, op, {"x"}, [=](onnx::NodeProto* node) { SetInts(node, attribute, values); });
  };
}

Edit WithIntsInput(const char* op, const std::vector<int64_t>& values) {
  return [=](onnx::ModelProto& m) {
    AddInts(m, "i", {static_cast<int64_t>(values.size())}, values);
    Node(m, op, {"x", "i"});
  };
}

Edit WithFloats(const char* op, std::initializer_list<int64_t> dims) {
  const std::vector<int64_t> shape(dims);
  return [=](onnx::ModelProto& m) {
    onnx::TensorProto* w = AddFloats(m, "w", {}, {});
    int64_t count = 1;
    for (const int64_t dim : shape) {
      w->add_dims(dim);
      count *= dim;
    }
    for (int64_t i = 0; i < count; ++i) w->add_float_data(0.5F);
    Node(m, op, {"x", "w"});
  };
}

std::vector<FlowCase> Cases() {
  return {
      {"Relu", true, [](onnx::ModelProto& m) { Node(m, "Relu", {"x"}); }},
      {"AddPerChannel", true, WithFloats("Add", {4, 1, 1})},
      {"AddFullRankOne", true, WithFloats("Add", {1, 4, 1, 1})},
      {"AddThatWidensTheBatch", false, WithFloats("Add", {3, 4, 1, 1})},
      {"AddOfHigherRank", false, WithFloats("Add", {1, 1, 4, 1, 1})},
      {"Conv", true, WithFloats("Conv", {3, 4, 1, 1})},
      {"MatMulLastAxis", true, WithFloats("MatMul", {2, 3})},
      {"MatMulPerImage", true, WithFloats("MatMul", {1, 4, 2, 3})},
      {"MatMulThatWidensTheBatch", false, WithFloats("MatMul", {3, 4, 2, 2})},
      {"SoftmaxLast", true, Axis("Softmax", -1)},
      {"SoftmaxOverTheBatch", false, Axis("Softmax", 0)},
      {"SoftmaxOldDefault", true, [](onnx::ModelProto& m) { Node(m, "Softmax", {"x"}); }, 11},
      {"Flatten1", true, Axis("Flatten", 1)},
      {"Flatten0", false, Axis("Flatten", 0)},
      {"Flatten2", false, Axis("Flatten", 2)},
      {"ReshapeToRow", true, WithIntsInput("Reshape", {1, 16})},
      {"ReshapeMinusOneFirst", true, WithIntsInput("Reshape", {-1, 16})},
      {"ReshapeIntoTheBatch", false, WithIntsInput("Reshape", {4, 4})},
      {"TransposeKeepsFirst", true, WithInts("Transpose", "perm", {0, 2, 3, 1})},
      {"TransposeMovesFirst", false, WithInts("Transpose", "perm", {1, 0, 2, 3})},
      {"TransposeDefault", false, [](onnx::ModelProto& m) { Node(m, "Transpose", {"x"}); }},
      {"SqueezeTheBatch", false, WithIntsInput("Squeeze", {0})},
      {"SqueezeAll", false, [](onnx::ModelProto& m) { Node(m, "Squeeze", {"x"}); }},
      {"UnsqueezeBehind", true, WithIntsInput("Unsqueeze", {2})},
      {"UnsqueezeBefore", false, WithIntsInput("Unsqueeze", {0})},
      {"ReduceMeanOverImage", true, WithInts("ReduceMean", "axes", {2, 3})},
      {"ReduceMeanOverBatch", false, WithInts("ReduceMean", "axes", {0})},
      {"ReduceMeanOverAll", false, [](onnx::ModelProto& m) { Node(m, "ReduceMean", {"x"}); }},
      {"ArgMaxChannel", true, Axis("ArgMax", 1)},
      {"ArgMaxBatch", false, Axis("ArgMax", 0)},
      {"GatherChannel", true,
       [](onnx::ModelProto& m) {
         AddInts(m, "i", {2}, {1, 0});
         Node(m, "Gather", {"x", "i"}, [](onnx::NodeProto* node) { SetInt(node, "axis", 1); });
       }},
      {"GatherRow", false, WithIntsInput("Gather", {0})},
      {"PadImage", true, WithIntsInput("Pad", {0, 0, 1, 1, 0, 0, 1, 1})},
      {"PadBatch", false, WithIntsInput("Pad", {0, 0, 0, 0, 1, 0, 0, 0})},
      {"ConcatChannels", true,
       [](onnx::ModelProto& m) {
         Node(m, "Concat", {"x", "x"}, [](onnx::NodeProto* node) { SetInt(node, "axis", 1); });
       }},
      {"ConcatRows", false,
       [](onnx::ModelProto& m) {
         Node(m, "Concat", {"x", "x"}, [](onnx::NodeProto* node) { SetInt(node, "axis", 0); });
       }},
      {"SliceImage", true,
       [](onnx::ModelProto& m) {
         AddInts(m, "b", {1}, {0});
         AddInts(m, "e", {1}, {1});
         AddInts(m, "a", {1}, {2});
         Node(m, "Slice", {"x", "b", "e", "a"});
       }},
      {"SliceRows", false,
       [](onnx::ModelProto& m) {
         AddInts(m, "b", {1}, {0});
         AddInts(m, "e", {1}, {1});
         AddInts(m, "a", {1}, {0});
         Node(m, "Slice", {"x", "b", "e", "a"});
       }},
      {"SliceOfAllRows", true,
       [](onnx::ModelProto& m) {
         AddInts(m, "b", {1}, {0});
         AddInts(m, "e", {1}, {INT64_MAX});
         AddInts(m, "a", {1}, {0});
         Node(m, "Slice", {"x", "b", "e", "a"});
       }},
      {"OnlyItsShape", false, [](onnx::ModelProto& m) { Node(m, "Shape", {"x"}); }},
  };
}

class BatchFlowTest : public testing::TestWithParam<FlowCase> {};

TEST_P(BatchFlowTest, FollowsTheRows) {
  onnx::ModelProto model = EmptyModel(GetParam().opset);
  AddInput(model, "x", {"n", 4, 2, 2});
  GetParam().build(model);
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->batchable, GetParam().batchable);
}

INSTANTIATE_TEST_SUITE_P(Operators, BatchFlowTest, testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

TEST(BatchInputsTest, AllMustHaveOne) {
  onnx::ModelProto model = EmptyModel();
  AddInput(model, "a", {"n", 2});
  AddInput(model, "b", {2});
  AddNode(model, "Add", {"a", "b"}, {"y"});
  AddOutput(model, "y");
  const auto graph = Read(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_FALSE(graph->batchable);
}

TEST(BatchInputsTest, AFixedOneCountsFromRankTwo) {
  for (const bool is_matrix : {false, true}) {
    onnx::ModelProto model = EmptyModel();
    if (is_matrix) {
      AddInput(model, "x", {1, 3});
    } else {
      AddInput(model, "x", {1});
    }
    AddNode(model, "Relu", {"x"}, {"y"});
    AddOutput(model, "y");
    const auto graph = Read(model);
    ASSERT_TRUE(graph.ok()) << graph.status();
    EXPECT_EQ(graph->batchable, is_matrix);
  }
}

}  // namespace
}  // namespace bitmill
