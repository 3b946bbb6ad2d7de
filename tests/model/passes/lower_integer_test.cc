// Networks whose file already holds integers: QuantizeLinear pairs, QLinearConv, ConvInteger and
// the like.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/passes/passes.h"
#include "model/verify.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

Graph MustLower(const Graph& graph) {
  auto lowered = Lower(graph);
  EXPECT_TRUE(lowered.ok()) << lowered.status();
  return lowered.ok() ? *std::move(lowered) : Graph{};
}

template <typename T>
std::vector<T> Pattern(size_t count, int low, int high) {
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = static_cast<T>(low + static_cast<int>(i * 7919 % 251) % (high - low + 1));
  }
  return values;
}

std::vector<float> Reals(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i * 37 % 101) * 0.11F - 5.0F;
  return values;
}

ValueId Bytes(GraphBuilder& b, DType dtype, int value) {
  if (dtype == DType::kInt8) return b.ConstantOf<int8_t>(dtype, {}, {static_cast<int8_t>(value)});
  return b.ConstantOf<uint8_t>(dtype, {}, {static_cast<uint8_t>(value)});
}

// Largest difference of the outputs, in units of `step`.
float Gap(const Graph& graph, const Graph& lowered, float step) {
  const auto count = static_cast<size_t>(ElementCount(graph.value(graph.inputs[0].value).shape));
  const std::vector<float> want = RunOriginal(graph, Reals(count));
  const std::vector<float> got = RunLowered(lowered, Reals(count));
  EXPECT_EQ(want.size(), got.size());
  float gap = 0.0F;
  for (size_t i = 0; i < std::min(want.size(), got.size()); ++i) {
    gap = std::max(gap, std::fabs(want[i] - got[i]) / step);
  }
  return gap;
}

class QdqTest : public ::testing::TestWithParam<DType> {};

TEST_P(QdqTest, PairsAroundAConvolutionBecomeCodes) {
  const DType dtype = GetParam();
  const int zero = dtype == DType::kInt8 ? -3 : 120;
  GraphBuilder b;
  const auto pair = [&](ValueId x, float scale) {
    const ValueId s = b.Scalar(scale);
    const ValueId z = Bytes(b, dtype, zero);
    return b.Op("DequantizeLinear", {b.Op("QuantizeLinear", {x, s, z}), s, z});
  };
  ValueId x = pair(b.Input("x", {1, 3, 5, 5}), 0.0625F);
  const ValueId weights =
      b.Op("DequantizeLinear",
           {b.ConstantOf<int8_t>(DType::kInt8, {4, 3, 3, 3}, Pattern<int8_t>(108, -127, 127)),
            b.Constant({4}, {0.5F, 0.25F, 0.125F, 1.0F}),
            b.ConstantOf<int8_t>(DType::kInt8, {4}, {0, 0, 0, 0})},
           {{"axis", int64_t{0}}});
  x = b.Op("Conv", {x, weights}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  x = b.Op("Relu", {x});
  x = pair(x, 4.0F);
  x = b.Op("MaxPool", {x}, {{"kernel_shape", std::vector<int64_t>{2, 2}}});
  x = b.Op("Flatten", {x}, {{"axis", int64_t{1}}});
  x = b.Op("MatMul", {x, b.Constant({64, 2}, Pattern<float>(128, -8, 7))});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "max_pool", "conv"));
  EXPECT_EQ(Gap(graph, lowered, 1.0F), 0.0F);
}

TEST_P(QdqTest, QLinearConvAndMatMulBecomeCodes) {
  const DType dtype = GetParam();
  const int zero = dtype == DType::kInt8 ? 5 : 131;
  GraphBuilder b;
  const ValueId x_scale = b.Scalar(0.0625F);
  const ValueId y_scale = b.Scalar(16.0F);
  const ValueId z_scale = b.Scalar(512.0F);
  const ValueId point = Bytes(b, dtype, zero);
  ValueId x = b.Op("QuantizeLinear", {b.Input("x", {1, 2, 4, 4}), x_scale, point});
  x = b.Op(
      "QLinearConv",
      {x, x_scale, point,
       b.ConstantOf<int8_t>(DType::kInt8, {3, 2, 3, 3}, Pattern<int8_t>(54, -90, 100)),
       b.Constant({3}, {0.5F, 0.25F, 1.0F}), b.ConstantOf<int8_t>(DType::kInt8, {3}, {0, 0, 0}),
       y_scale, point, b.ConstantOf<int32_t>(DType::kInt32, {3}, {300, -700, 11})},
      {{"pads", std::vector<int64_t>{1, 0, 0, 1}}});
  x = b.Op("Flatten", {x}, {{"axis", int64_t{1}}});
  x = b.Op(
      "QLinearMatMul",
      {x, y_scale, point, b.ConstantOf<int8_t>(DType::kInt8, {27, 2}, Pattern<int8_t>(54, -8, 7)),
       b.Scalar(2.0F), Bytes(b, DType::kInt8, 0), z_scale, point});
  x = b.Op("DequantizeLinear", {x, z_scale, point});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv", "conv", "dequantize"));
  EXPECT_LE(Gap(graph, lowered, 512.0F), 1.0F);  // a tie may round either way
}

TEST_P(QdqTest, IntegerProductsOfAGraphInputAreExact) {
  const DType dtype = GetParam();
  GraphBuilder b;
  const ValueId x = b.Input("x", {1, 9}, dtype);
  const ValueId product =
      b.Op("MatMulInteger",
           {x, b.ConstantOf<int8_t>(DType::kInt8, {9, 2}, Pattern<int8_t>(18, -100, 100)),
            Bytes(b, dtype, 7), Bytes(b, DType::kInt8, 0)});
  const ValueId y = b.Op("Mul", {b.Op("Cast", {product}, {{"to", int64_t{1}}}), b.Scalar(0.25F)});
  const Graph graph = b.Build({y});
  const Graph lowered = MustLower(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("DequantizeLinear", "quantize", "conv"));
  // Not a float input, so run both by hand.
  auto tensor = Tensor::Create(dtype, {1, 9});
  ASSERT_TRUE(tensor.ok());
  for (int i = 0; i < 9; ++i) {
    static_cast<uint8_t*>(tensor->data())[i] = static_cast<uint8_t>(i * 31);
  }
  EXPECT_EQ(RunLoweredOn(lowered, *tensor), RunOriginalOn(graph, *tensor));
}

INSTANTIATE_TEST_SUITE_P(Types, QdqTest, ::testing::Values(DType::kInt8, DType::kUInt8),
                         [](const auto& test) {
                           return test.param == DType::kInt8 ? "Int8" : "UInt8";
                         });

TEST(ConvIntegerTest, TakesZeroPointsOfInputAndWeights) {
  GraphBuilder b;
  const ValueId scale = b.Scalar(0.125F);
  const ValueId zero = Bytes(b, DType::kUInt8, 40);
  ValueId x = b.Op("QuantizeLinear", {b.Input("x", {1, 2, 4, 4}), scale, zero});
  x = b.Op("ConvInteger",
           {x, b.ConstantOf<uint8_t>(DType::kUInt8, {2, 2, 2, 2}, Pattern<uint8_t>(16, 3, 250)),
            zero, Bytes(b, DType::kUInt8, 128)},
           {{"pads", std::vector<int64_t>{0, 1, 1, 0}}});
  x = b.Op("Cast", {x}, {{"to", int64_t{1}}});
  x = b.Op("Mul", {x, b.Constant({1, 2, 1, 1}, {0.5F, 0.25F})});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("quantize", "conv"));
  EXPECT_EQ(Gap(graph, lowered, 1.0F), 0.0F);
}

TEST(ConvIntegerTest, LeavesWeightsOfNineBits) {
  GraphBuilder b;
  const ValueId scale = b.Scalar(0.125F);
  const ValueId zero = Bytes(b, DType::kUInt8, 40);
  ValueId x = b.Op("QuantizeLinear", {b.Input("x", {1, 4}), scale, zero});
  x = b.Op("MatMulInteger", {x, b.ConstantOf<uint8_t>(DType::kUInt8, {4, 1}, {255, 0, 254, 1}),
                             zero, Bytes(b, DType::kUInt8, 100)});
  x = b.Op("Cast", {x}, {{"to", int64_t{1}}});
  const Graph graph = b.Build({x});
  const Graph lowered = MustLower(graph);
  EXPECT_EQ(OnlyOp<LowBitConvOp>(lowered), nullptr);
  EXPECT_EQ(Gap(graph, lowered, 1.0F), 0.0F);
}

}  // namespace
}  // namespace bitmill
