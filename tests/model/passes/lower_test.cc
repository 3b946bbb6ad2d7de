// What small graphs are lowered to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/half.h"
#include "model/passes/passes.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

Graph MustLower(const Graph& graph) {
  auto lowered = Lower(graph);
  EXPECT_TRUE(lowered.ok()) << lowered.status();
  return lowered.ok() ? *std::move(lowered) : Graph{};
}

// [rows][columns] of +1 and -1 in an irregular pattern.
std::vector<float> Signs(int64_t rows, int64_t columns) {
  std::vector<float> signs;
  for (int64_t i = 0; i < rows * columns; ++i) signs.push_back(i * i % 7 < 3 ? 1.0F : -1.0F);
  return signs;
}

TEST(LowerTest, KeepsBitsBetweenBinaryDenseLayers) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 8}));
  x = b.Op("MatMul", {x, b.Constant({8, 4}, Signs(8, 4))});
  x = b.BipolarQuant(x);
  x = b.Op("MatMul", {x, b.Constant({4, 2}, Signs(4, 2))});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "conv"));
  const auto& first = std::get<LowBitConvOp>(lowered.nodes[1].lowered);
  EXPECT_EQ(first.epilogue, LowBitConvOp::Epilogue::kThresholds);
  EXPECT_EQ(first.weight_bits, 1);
  EXPECT_EQ(lowered.value(lowered.nodes[1].outputs[0]).code.kind, CodeKind::kBits);
  EXPECT_THAT(first.thresholds, Each(0));
}

TEST(LowerTest, TurnsBatchNormalizationIntoThresholdsAndFlips) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 8}));
  x = b.Op("MatMul", {x, b.Constant({8, 3}, Signs(8, 3))});
  // Positive, negative and zero gamma; the last is +1 whatever comes.
  x = b.Op("BatchNormalization",
           {x, b.Constant({3}, {1.0F, -1.0F, 0.0F}), b.Constant({3}, {0.0F, 0.0F, 0.5F}),
            b.Constant({3}, {2.5F, 2.5F, 0.0F}), b.Constant({3}, {1.0F, 1.0F, 1.0F})});
  x = b.BipolarQuant(x);
  x = b.Op("MatMul", {x, b.Constant({3, 1}, Signs(3, 1))});
  const Graph lowered = MustLower(b.Build({x}));
  const auto& conv = std::get<LowBitConvOp>(lowered.nodes[1].lowered);
  EXPECT_THAT(conv.thresholds, ElementsAre(3, -2, std::numeric_limits<int32_t>::min()));
  EXPECT_THAT(conv.flip, ElementsAre(0, 1, 0));
}

TEST(LowerTest, AbsorbsInputScalingIntoOneExactComparison) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 1, 2, 2});
  x = b.Op("Div", {x, b.Scalar(127.5F)});
  x = b.Op("Sub", {x, b.Scalar(1.0F)});
  x = b.Op("Flatten", {x}, {{"axis", int64_t{1}}});
  x = b.BipolarQuant(x);
  x = b.Op("MatMul", {x, b.Constant({4, 2}, Signs(4, 2))});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("Flatten", "quantize", "conv"));
  const auto* quantize = OnlyOp<QuantizeOp>(lowered);
  ASSERT_NE(quantize, nullptr);
  ASSERT_EQ(quantize->bit_thresholds.size(), 1U);
  const float threshold = quantize->bit_thresholds[0];
  EXPECT_GE(threshold / 127.5F - 1.0F, 0.0F);
  EXPECT_LT(std::nextafter(threshold, 0.0F) / 127.5F - 1.0F, 0.0F);
}

// The signs of bytes and of 16-bit floats are taken of them as they are, whatever scaling and
// reshaping lies between.
TEST(LowerTest, TakesSignsOfNarrowInputsWithoutConversion) {
  for (const DType dtype : {DType::kInt8, DType::kUInt8, DType::kFloat16, DType::kBFloat16}) {
    GraphBuilder b;
    ValueId x = b.Op("Cast", {b.Input("x", {1, 1, 2, 4}, dtype)}, {{"to", int64_t{1}}});
    x = b.Op("Sub", {x, b.Scalar(63.5F)});
    x = b.Op("Flatten", {x}, {{"axis", int64_t{1}}});
    x = b.BipolarQuant(x);
    x = b.Op("MatMul", {x, b.Constant({8, 3}, Signs(8, 3))});
    const Graph graph = b.Build({x});
    const Graph lowered = MustLower(graph);
    EXPECT_THAT(LoweredOps(lowered), ElementsAre("Flatten", "quantize", "conv"));
    EXPECT_EQ(lowered.value(lowered.nodes[1].inputs[0]).dtype, dtype);

    Tensor input = Tensor::Create(dtype, Shape{1, 1, 2, 4}).value();
    constexpr uint8_t kBytes[] = {0, 63, 64, 255, 128, 127, 65, 1};
    for (int64_t i = 0; i < 8; ++i) {
      if (DTypeSize(dtype) == 1) {
        input.mutable_view().as<uint8_t>()[i] = kBytes[i];
      } else {
        const auto value = static_cast<float>(kBytes[i]);
        input.mutable_view().as<uint16_t>()[i] =
            dtype == DType::kFloat16 ? FloatToHalf(value) : FloatToBFloat16(value);
      }
    }
    EXPECT_EQ(RunLoweredOn(lowered, input), RunOriginalOn(graph, input));
  }
}

// Another reader wants floats: its Cast stays.
TEST(LowerTest, KeepsTheCastOfOtherReaders) {
  GraphBuilder b;
  const ValueId cast = b.Op("Cast", {b.Input("x", {1, 8}, DType::kUInt8)}, {{"to", int64_t{1}}});
  const ValueId y = b.Op("MatMul", {b.BipolarQuant(cast), b.Constant({8, 8}, Signs(8, 8))});
  const Graph lowered = MustLower(b.Build({b.Op("Add", {y, cast})}));
  EXPECT_THAT(LoweredOps(lowered),
              ::testing::UnorderedElementsAre("Cast", "quantize", "conv", "Add"));
}

TEST(LowerTest, PacksAnImageOfFewChannelsFlatBeforeADenseLayer) {
  GraphBuilder b;
  ValueId x = b.MultiThreshold(b.Input("x", {1, 1, 4, 4}), 1, {8.0F}, 2.0F, -1.0F);
  x = b.Op("Flatten", {x}, {{"axis", int64_t{1}}});
  x = b.Op("MatMul", {x, b.Constant({16, 3}, Signs(16, 3))});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("Flatten", "quantize", "conv"));
  EXPECT_EQ(lowered.value(lowered.nodes[1].outputs[0]).shape, (Shape{1, 16}));
}

TEST(LowerTest, ReadsAnImageWithADenseLayerWithoutMovingIt) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 2, 4, 4}));
  x = b.Op("Conv", {x, b.Constant({3, 2, 2, 2}, Signs(3, 8))});
  x = b.Op("Flatten", {x}, {{"axis", int64_t{1}}});
  x = b.Op("Relu", {x});
  x = b.BipolarQuant(x);
  x = b.Op("MatMul", {x, b.Constant({27, 2}, Signs(27, 2))});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "conv"));
  EXPECT_EQ(std::get<LowBitConvOp>(lowered.nodes[2].lowered).weights->shape(), (Shape{2, 3, 3, 3}));
}

TEST(LowerTest, PoolsBitsInsteadOfFloats) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 2, 4, 4}));
  x = b.Op("Conv", {x, b.Constant({2, 2, 1, 1}, Signs(2, 2))});
  x = b.Op("MaxPool", {x},
           {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  x = b.Op("Mul", {x, b.Constant({1, 2, 1, 1}, {1.0F, -1.0F})});
  x = b.BipolarQuant(x);
  x = b.Op("Conv", {x, b.Constant({1, 2, 1, 1}, Signs(1, 2))});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "max_pool", "conv"));
  // Where a larger sum means -1, the pooled bit is that of the smallest.
  EXPECT_THAT(OnlyOp<LowBitMaxPoolOp>(lowered)->minimum, ElementsAre(0, 1));
}

TEST(LowerTest, MakesSignABitWhereZeroCannotOccur) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 8}));
  x = b.Op("MatMul", {x, b.Constant({8, 2}, Signs(8, 2))});
  x = b.Op("Add", {x, b.Constant({1, 2}, {0.5F, 1.0F})});  // an even sum is never -1
  x = b.Op("Sign", {x});
  x = b.Op("MatMul", {x, b.Constant({2, 1}, Signs(2, 1))});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_EQ(lowered.value(lowered.nodes[1].outputs[0]).code.kind, CodeKind::kBits);
}

TEST(LowerTest, KeepsThreeCodesOfSignWhereZeroCanOccur) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 8}));
  x = b.Op("MatMul", {x, b.Constant({8, 2}, Signs(8, 2))});
  x = b.Op("Sign", {x});
  x = b.Op("MatMul", {x, b.Constant({2, 1}, Signs(2, 1))});
  const Graph lowered = MustLower(b.Build({x}));
  const CodeInfo& code = lowered.value(lowered.nodes[1].outputs[0]).code;
  EXPECT_EQ(code.kind, CodeKind::kUInt8);
  EXPECT_EQ(code.levels, 3);
  EXPECT_EQ(code.zero_point, 1);
}

TEST(LowerTest, RequantizesEightBitCodesAndDropsTheirNegativeHalf) {
  GraphBuilder b;
  ValueId x = b.Quant(b.Input("x", {1, 4}), 0.5F, 8, true);
  x = b.Op("MatMul", {x, b.Constant({4, 2}, {1, -1, 0, 1, 1, 1, -1, 0})});
  x = b.Op("Mul", {x, b.Constant({1, 2}, {0.3F, 0.7F})});
  x = b.Op("Relu", {x});
  x = b.Quant(x, 0.25F, 8, true);
  x = b.Op("MatMul", {x, b.Constant({2, 1}, {1, -1})});
  const Graph lowered = MustLower(b.Build({x}));
  const auto& conv = std::get<LowBitConvOp>(lowered.nodes[1].lowered);
  EXPECT_EQ(conv.epilogue, LowBitConvOp::Epilogue::kRequantize);
  EXPECT_TRUE(conv.ternary);
  const CodeInfo& code = lowered.value(lowered.nodes[1].outputs[0]).code;
  EXPECT_EQ(code.zero_point, 0);
  EXPECT_EQ(code.levels, 128);
}

TEST(LowerTest, FoldsThePadNodeOfEveryBorderValue) {
  for (const float border : {0.0F, 1.0F, -1.0F}) {
    GraphBuilder b;
    ValueId x = b.BipolarQuant(b.Input("x", {1, 2, 3, 3}));
    x = b.Op("Pad", {x, b.ConstantOf<int64_t>(DType::kInt64, {8}, {0, 0, 1, 2, 0, 0, 0, 1}),
                     b.Scalar(border)});
    x = b.Op("Conv", {x, b.Constant({2, 2, 2, 2}, Signs(2, 8))});
    const Graph lowered = MustLower(b.Build({x}));
    EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv"));
    const auto* conv = OnlyOp<LowBitConvOp>(lowered);
    ASSERT_NE(conv, nullptr);
    EXPECT_EQ(conv->padding, border == 0.0F   ? Padding::kZero
                             : border == 1.0F ? Padding::kPlusOne
                                              : Padding::kMinusOne);
    EXPECT_EQ(conv->pad_top, 1);
    EXPECT_EQ(conv->pad_left, 2);
    EXPECT_EQ(conv->pad_bottom, 0);
    EXPECT_EQ(conv->pad_right, 1);
  }
}

TEST(LowerTest, DequantizesForAShortcut) {
  GraphBuilder b;
  const ValueId bits = b.BipolarQuant(b.Input("x", {1, 2, 3, 3}));
  const ValueId conv = b.Op("Conv", {bits, b.Constant({2, 2, 1, 1}, Signs(2, 2))});
  const Graph lowered = MustLower(b.Build({b.Op("Add", {conv, bits})}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "dequantize", "conv", "Add"));
}

TEST(LowerTest, DequantizesAQuantizedOutput) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 4}));
  x = b.Op("MatMul", {x, b.Constant({4, 2}, Signs(4, 2))});
  const Graph lowered = MustLower(b.Build({b.BipolarQuant(x)}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "dequantize"));
}

TEST(LowerTest, KeepsFloatEpilogueAndQuantizerOfAChainThatIsNotMonotone) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 4}));
  x = b.Op("MatMul", {x, b.Constant({4, 2}, Signs(4, 2))});
  x = b.Op("Abs", {x});
  x = b.Op("Sub", {x, b.Scalar(2.5F)});
  x = b.BipolarQuant(x);
  x = b.Op("MatMul", {x, b.Constant({2, 2}, Signs(2, 2))});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "quantize", "conv"));
  EXPECT_EQ(std::get<LowBitConvOp>(lowered.nodes[1].lowered).chain.size(), 2U);
}

TEST(LowerTest, SeesTheQuantizerInFloorAndClip) {
  GraphBuilder b;
  ValueId x = b.Input("x", {1, 3, 2, 2});
  x = b.Op("Mul", {x, b.Scalar(1.0039216F)});
  x = b.Op("Add", {x, b.Scalar(-127.5F)});
  x = b.Op("Floor", {x});
  x = b.Op("Clip", {x, b.Scalar(-128.0F), b.Scalar(127.0F)});
  x = b.Op("Conv", {x, b.Constant({2, 3, 1, 1}, Signs(2, 3))});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv"));
  const std::vector<float> pixels{0, 1, 126, 127, 128, 129, 254, 255, 3.7F, -9, 300, 127.5F};
  EXPECT_EQ(RunLowered(lowered, pixels), RunOriginal(graph, pixels));
}

TEST(LowerTest, RefusesToPadCodesThatHaveNoZero) {
  GraphBuilder b;
  // Codes stand for 2, 3, 4, 5: no border code is zero.
  ValueId x = b.MultiThreshold(b.Input("x", {1, 1, 3, 3}), 1, {0, 1, 2}, 1.0F, 2.0F);
  x = b.Op("Conv", {x, b.Constant({1, 1, 3, 3}, Signs(1, 9))},
           {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_EQ(OnlyOp<LowBitConvOp>(lowered), nullptr);
  const std::vector<float> pixels{0, 1, 2, 3, -4, 0.5F, 1.5F, 9, -1};
  EXPECT_EQ(RunLowered(lowered, pixels), RunOriginal(graph, pixels));
}

TEST(LowerTest, LeavesAccumulatorsThatCouldOverflowInFloat) {
  GraphBuilder b;
  constexpr int64_t kInputs = 70000;
  ValueId x = b.Quant(b.Input("x", {1, kInputs}), 1.0F, 8, false);
  std::vector<float> weights(kInputs, 127.0F);
  weights[0] = 1.0F;
  x = b.Op("MatMul", {x, b.Constant({kInputs, 1}, weights)});
  const Graph lowered = MustLower(b.Build({x}));
  EXPECT_EQ(OnlyOp<LowBitConvOp>(lowered), nullptr);
}

ValueId BatchNorm(GraphBuilder& b, ValueId x) {
  return b.Op("BatchNormalization",
              {x, b.Constant({2}, {1.5F, -0.5F}), b.Constant({2}, {0.1F, 0.2F}),
               b.Constant({2}, {0.5F, -0.25F}), b.Constant({2}, {2.0F, 3.0F})});
}

TEST(LowerTest, FoldsABatchNormalizationBehindAReluIntoTheLayer) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 8, 4, 4}));
  x = b.Op("Conv", {x, b.Constant({2, 8, 1, 1}, Signs(2, 8))});
  x = BatchNorm(b, b.Op("Relu", {x}));
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  const auto* conv = OnlyOp<LowBitConvOp>(lowered);
  ASSERT_NE(conv, nullptr);
  ASSERT_EQ(conv->chain.size(), 1U);
  EXPECT_EQ(conv->chain[0].op, ChainOp::kClip);
  std::vector<float> pixels;
  for (int i = 0; i < 128; ++i) pixels.push_back(static_cast<float>(i * 37 % 255) - 120.0F);
  const std::vector<float> want = RunOriginal(graph, pixels);
  const std::vector<float> got = RunLowered(lowered, pixels);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5F);
}

TEST(LowerTest, JoinsTheStepsOfABatchNormalizationThatNoQuantizerReads) {
  for (const bool compared : {false, true}) {
    GraphBuilder b;
    const ValueId sum = b.Op("Add", {b.Input("x", {1, 2, 4, 4}), b.Input("y", {1, 2, 4, 4})});
    const ValueId norm = BatchNorm(b, sum);
    // Another reader keeps the chain from becoming thresholds.
    std::vector<ValueId> outputs = {norm};
    if (compared) {
      const ValueId signs = b.BipolarQuant(b.Op("Flatten", {norm}));
      outputs.push_back(b.Op("MatMul", {signs, b.Constant({32, 1}, Signs(32, 1))}));
    }
    const Graph lowered = MustLower(b.Build(outputs));
    const auto* chain = OnlyOp<ElementwiseOp>(lowered);
    ASSERT_NE(chain, nullptr);
    EXPECT_EQ(chain->chain.size(), compared ? 4U : 2U);
  }
}

TEST(LowerTest, FoldsBatchNormalizationIntoFloatLayers) {
  GraphBuilder b;
  ValueId x = b.Op("Div", {b.Input("x", {1, 2, 4, 4}), b.Scalar(255.0F)});
  x = b.Op("Conv", {x, b.Constant({2, 2, 1, 1}, {0.11F, 0.37F, -0.7F, 0.23F})});
  x = b.Op("BatchNormalization", {x, b.Constant({2}, {1.5F, -0.5F}), b.Constant({2}, {0.1F, 0.2F}),
                                  b.Constant({2}, {0.3F, 0.4F}), b.Constant({2}, {2.0F, 3.0F})});
  x = b.Op("Relu", {x});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("float_conv"));
  EXPECT_EQ(OnlyOp<FloatConvOp>(lowered)->chain.size(), 1U);
  std::vector<float> pixels;
  for (int i = 0; i < 32; ++i) pixels.push_back(static_cast<float>(i * 37 % 255));
  const std::vector<float> want = RunOriginal(graph, pixels);
  const std::vector<float> got = RunLowered(lowered, pixels);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5F);
}

TEST(LowerTest, GivesWideWeightsCodesInsteadOfBits) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 2, 4, 4}));
  x = b.Op("Conv", {x, b.Constant({2, 2, 1, 1}, Signs(2, 2))});
  x = b.Op("Add", {x, b.Constant({1, 2, 1, 1}, {0.5F, -1.5F})});
  x = b.BipolarQuant(x, 0.25F);
  x = b.Op("MaxPool", {x},
           {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  x = b.Op("Flatten", {x}, {{"axis", int64_t{1}}});
  x = b.Op("MatMul", {x, b.Constant({8, 1}, {5, -3, 1, 2, 0, 7, -8, 4})});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "max_pool", "conv"));
  EXPECT_EQ(std::get<LowBitConvOp>(lowered.nodes[3].lowered).weight_bits, 4);
  for (const size_t node : {size_t{1}, size_t{2}}) {
    const CodeInfo& code = lowered.value(lowered.nodes[node].outputs[0]).code;
    EXPECT_EQ(code.kind, CodeKind::kUInt8);
    EXPECT_EQ(code.zero_point, 1);
  }
  std::vector<float> input(32);
  for (size_t i = 0; i < 32; ++i) input[i] = static_cast<float>(i * 5 % 7) - 3.0F;
  EXPECT_EQ(RunLowered(lowered, input), RunOriginal(graph, input));
}

}  // namespace
}  // namespace bitmill
