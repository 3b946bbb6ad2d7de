// Which values stay known as codes, whatever lies between a quantizer and the next layer.
#include "model/passes/quantized_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/passes/passes.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

constexpr ValueId kCodes = 7;
const QuantizedView kBitsView{{CodeKind::kBits, 0.5F, 0, 2}, kCodes};
const QuantizedView kByteView{{CodeKind::kUInt8, 0.5F, 4, 16}, kCodes};

TEST(ViewThroughChainTest, ScalesWithoutTouchingCodes) {
  const auto view =
      ViewThroughChain({{ChainOp::kMul, {4.0F}, {}}, {ChainOp::kDiv, {2.0F}, {}}}, kBitsView);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->info.scale, 1.0F);
  EXPECT_EQ(view->codes, kCodes);
}

TEST(ViewThroughChainTest, MovesTheZeroPointByWholeSteps) {
  const auto view = ViewThroughChain({{ChainOp::kAdd, {1.0F}, {}}}, kByteView);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->info.zero_point, 2);
  EXPECT_EQ(view->codes, kNoValue);  // the codes must be read with another zero point
  EXPECT_FALSE(ViewThroughChain({{ChainOp::kAdd, {0.2F}, {}}}, kByteView));
}

TEST(ViewThroughChainTest, TurnsShiftedBitsIntoZeroAndOne) {
  // (x + 0.5) / 1 of -0.5 and +0.5.
  const auto view = ViewThroughChain({{ChainOp::kSub, {-0.5F}, {}}}, kBitsView);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->info.kind, CodeKind::kUInt8);
  EXPECT_EQ(view->info.scale, 1.0F);
  EXPECT_EQ(view->info.zero_point, 0);
  EXPECT_EQ(view->info.levels, 2);
}

TEST(ViewThroughChainTest, DropsTheCodesThatReluDrops) {
  const auto view = ViewThroughChain({{ChainOp::kRelu, {}, {}}}, kByteView);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->info.zero_point, 0);
  EXPECT_EQ(view->info.levels, 12);
  const auto bits = ViewThroughChain({{ChainOp::kRelu, {}, {}}}, kBitsView);
  ASSERT_TRUE(bits);
  EXPECT_EQ(bits->info.kind, CodeKind::kUInt8);
  EXPECT_EQ(bits->info.zero_point, 0);
}

TEST(ViewThroughChainTest, GivesUpOnOtherOperations) {
  EXPECT_FALSE(ViewThroughChain({{ChainOp::kTanh, {}, {}}}, kByteView));
  EXPECT_FALSE(ViewThroughChain({{ChainOp::kMul, {-1.0F}, {}}}, kByteView));
  EXPECT_FALSE(ViewThroughChain({{ChainOp::kMul, {1.0F, 2.0F}, {}}}, kByteView));
  EXPECT_FALSE(ViewThroughChain({{ChainOp::kDiv, {0.0F}, {}}}, kByteView));
}

TEST(SameStorageTest, IgnoresTrailingOnes) {
  EXPECT_TRUE(SameStorage({1, 8}, {1, 8, 1, 1}));
  EXPECT_TRUE(SameStorage({1, 8, 2, 3}, {1, 8, 2, 3}));
  EXPECT_FALSE(SameStorage({1, 48}, {1, 8, 2, 3}));
  EXPECT_FALSE(SameStorage({1, 8, 3, 2}, {1, 8, 2, 3}));
  EXPECT_FALSE(SameStorage({2, 8}, {2, 8}));
}

// A network with something between its quantizer and its layer gives the same outputs, and its
// layer runs on codes.
class BetweenTest : public ::testing::Test {
 protected:
  void Check(const std::vector<std::string>& ops) {
    const Graph graph = b_.Build({output_});
    const auto lowered = Lower(graph);
    ASSERT_TRUE(lowered.ok()) << lowered.status();
    EXPECT_EQ(LoweredOps(*lowered), ops);
    const auto count = static_cast<size_t>(ElementCount(graph.value(graph.inputs[0].value).shape));
    std::vector<float> input(count);
    for (size_t i = 0; i < count; ++i) input[i] = static_cast<float>(i * 5 % 7) - 3.0F;
    EXPECT_EQ(RunLowered(*lowered, input), RunOriginal(graph, input));
  }
  ValueId Weights(const Shape& shape) {
    std::vector<float> signs(static_cast<size_t>(ElementCount(shape)));
    for (size_t i = 0; i < signs.size(); ++i) signs[i] = i * i % 7 < 3 ? 1.0F : -1.0F;
    return b_.Constant(shape, signs);
  }

  GraphBuilder b_;
  ValueId output_ = kNoValue;
};

TEST_F(BetweenTest, ZeroOneActivations) {
  ValueId x = b_.BipolarQuant(b_.Input("x", {1, 6}));
  x = b_.Op("Mul", {b_.Op("Add", {x, b_.Scalar(1.0F)}), b_.Scalar(0.5F)});
  output_ = b_.Op("MatMul", {x, Weights({6, 2})});
  Check({"quantize", "dequantize", "quantize", "conv"});
}

TEST_F(BetweenTest, ScaleIsPartOfTheEpilogue) {
  ValueId x = b_.BipolarQuant(b_.Input("x", {1, 6}));
  x = b_.Op("Mul", {x, b_.Scalar(0.25F)});
  output_ = b_.Op("MatMul", {x, Weights({6, 2})});
  Check({"quantize", "conv"});
}

TEST_F(BetweenTest, ConcatOfEqualQuantizers) {
  const ValueId x = b_.Input("x", {1, 2, 3, 3});
  const ValueId first = b_.BipolarQuant(x);
  const ValueId second = b_.BipolarQuant(b_.Op("Conv", {first, Weights({3, 2, 1, 1})}));
  const ValueId both = b_.Op("Concat", {first, second}, {{"axis", int64_t{1}}});
  output_ = b_.Op("Conv", {both, Weights({2, 5, 2, 2})});
  Check({"quantize", "dequantize", "conv", "dequantize", "Concat", "quantize", "conv"});
}

TEST_F(BetweenTest, ReshapesOfAnImage) {
  ValueId x = b_.BipolarQuant(b_.Input("x", {1, 4, 2, 1}));
  x = b_.Op("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 3, 1, 2}}});
  x = b_.Op("Squeeze", {x, b_.ConstantOf<int64_t>(DType::kInt64, {1}, {1})});
  x = b_.Op("Reshape", {x, b_.ConstantOf<int64_t>(DType::kInt64, {2}, {1, -1})});
  output_ = b_.Op("MatMul", {x, Weights({8, 3})});
  Check({"Flatten", "quantize", "conv"});
}

TEST_F(BetweenTest, TransposeThatMovesChannelsRecoversTheCodes) {
  ValueId x = b_.BipolarQuant(b_.Input("x", {1, 2, 3, 3}));
  x = b_.Op("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}});
  output_ = b_.Op("Conv", {x, Weights({2, 3, 1, 1})});
  const Graph graph = b_.Build({output_});
  const auto lowered = Lower(graph);
  ASSERT_TRUE(lowered.ok());
  std::vector<float> input(18);
  for (size_t i = 0; i < 18; ++i) input[i] = static_cast<float>(i * 5 % 7) - 3.0F;
  EXPECT_EQ(RunLowered(*lowered, input), RunOriginal(graph, input));
}

TEST_F(BetweenTest, VectorThatBecomesAnImageRecoversTheCodes) {
  ValueId x = b_.BipolarQuant(b_.Input("x", {1, 18}));
  x = b_.Op("Reshape", {x, b_.ConstantOf<int64_t>(DType::kInt64, {4}, {1, 2, 3, 3})});
  output_ = b_.Op("Conv", {x, Weights({2, 2, 2, 2})});
  Check({"quantize", "dequantize", "Reshape", "quantize", "conv"});
}

}  // namespace
}  // namespace bitmill
