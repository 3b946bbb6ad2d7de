// Sequences become images: what they are lowered to, and that they compute the same.
#include "model/passes/token_images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/passes/passes.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

using testing::ElementsAre;

const std::vector<int64_t> kSwap = {0, 2, 1};

std::vector<float> Ramp(size_t count, float step) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = step * static_cast<float>(i % 11) - 5.0F * step;
  return values;
}

Graph Lowered(const Graph& graph) {
  auto lowered = Lower(graph);
  EXPECT_TRUE(lowered.ok()) << lowered.status();
  return *std::move(lowered);
}

void ExpectSame(const Graph& graph, const Graph& lowered) {
  const auto elements = static_cast<size_t>(ElementCount(graph.value(graph.inputs[0].value).shape));
  const std::vector<float> input = Ramp(elements, 0.25F);
  EXPECT_EQ(RunLowered(lowered, input), RunOriginal(graph, input));
}

TEST(TokenImagesTest, AProductOfTokensIsAConvolutionOfOnePixelAToken) {
  GraphBuilder b;
  const ValueId x = b.Quant(b.Input("x", {1, 5, 3}), 0.25F, 8, true);
  const Graph graph = b.Build({b.Op("MatMul", {x, b.Constant({3, 2}, {1, -1, 0, 1, -1, 0})})});
  const Graph lowered = Lowered(graph);
  EXPECT_THAT(LoweredOps(lowered),
              ElementsAre("Reshape", "Transpose", "quantize", "conv", "Transpose", "Reshape"));
  const auto* conv = OnlyOp<LowBitConvOp>(lowered);
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->weights->shape(), (Shape{2, 3, 1, 1}));
  ExpectSame(graph, lowered);
}

TEST(TokenImagesTest, TokensMixAsCodesThatAreTransposedBehindTheQuantizer) {
  GraphBuilder b;
  const ValueId x = b.Op("Transpose", {b.Input("x", {1, 5, 3})}, {{"perm", kSwap}});
  const ValueId codes = b.Quant(x, 0.25F, 4, true);
  ValueId y = b.Op("MatMul", {codes, b.Constant({5, 2}, {1, -1, 0, 1, -1, 0, 1, 1, 0, -1})});
  y = b.Op("Transpose", {y}, {{"perm", kSwap}});
  const Graph graph = b.Build({y});
  const Graph lowered = Lowered(graph);
  EXPECT_EQ(OnlyOp<LowBitConvOp>(lowered)->weights->shape(), (Shape{2, 5, 1, 1}));
  ExpectSame(graph, lowered);
}

TEST(TokenImagesTest, CodesOfOneProductAreTransposedForTheNext) {
  GraphBuilder b;
  ValueId x = b.Quant(b.Input("x", {1, 4, 3}), 0.25F, 8, true);
  x = b.Op("MatMul", {x, b.Constant({3, 2}, {1, -1, 0, 1, -1, 0})});
  x = b.Op("Transpose", {b.Op("Relu", {x})}, {{"perm", kSwap}});
  x = b.Quant(x, 0.25F, 4, false);
  x = b.Op("MatMul", {x, b.Constant({4, 1}, {1, -1, 0, 1})});
  const Graph graph = b.Build({x});
  const Graph lowered = Lowered(graph);
  EXPECT_THAT(LoweredOps(lowered), ElementsAre("Reshape", "Transpose", "quantize", "conv",
                                               "transpose", "conv", "Transpose", "Reshape"));
  ExpectSame(graph, lowered);
}

TEST(TokenImagesTest, OperandsOfChannelsAndOfPositionsGoAlong) {
  GraphBuilder b;
  ValueId x = b.Op("Mul", {b.Input("x", {1, 3, 4}), b.Constant({4}, {1, 2, 3, 4})});
  x = b.Op("Add", {x, b.Constant({1, 3, 4}, Ramp(12, 1.0F))});
  x = b.Op("Sub", {b.Constant({3, 1}, {1, 2, 3}), x});
  x = b.Op("MatMul", {b.BipolarQuant(x), b.Constant({4, 2}, {1, -1, -1, 1, 1, 1, -1, -1})});
  const Graph graph = b.Build({x});
  ExpectSame(graph, Lowered(graph));
}

TEST(TokenImagesTest, ManyTokensOfRankTwoAndGridsAreImagesToo) {
  for (const Shape& shape : {Shape{1, 2, 3, 4}, Shape{1, 2, 2, 3, 4}}) {
    GraphBuilder b;
    ValueId x = b.Quant(b.Input("x", shape), 0.5F, 8, true);
    x = b.Op("MatMul", {x, b.Constant({4, 3}, {1, -1, 0, 1, -1, 0, 0, 0, 1, 1, 1, -1})});
    x = b.Op("Add", {x, b.Constant({3}, {1, 2, 3})});
    const Graph graph = b.Build({x});
    const Graph lowered = Lowered(graph);
    EXPECT_NE(OnlyOp<LowBitConvOp>(lowered), nullptr);
    ExpectSame(graph, lowered);
  }
}

TEST(TokenImagesTest, AnotherReaderStillFindsTheSequence) {
  GraphBuilder b;
  const ValueId x = b.Quant(b.Input("x", {1, 5, 3}), 0.25F, 8, true);
  const ValueId y = b.Op("MatMul", {x, b.Constant({3, 4}, Ramp(12, 1.0F))});
  const Graph graph = b.Build({b.Op("ReduceMax", {y}, {{"axes", std::vector<int64_t>{2}}})});
  ExpectSame(graph, Lowered(graph));
}

}  // namespace
}  // namespace bitmill
