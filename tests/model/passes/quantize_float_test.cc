// Float layers as integer convolutions: within the error that the header derives, and exact where
// it says so.
#include "model/passes/quantize_float.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "model/passes/lowered_reference.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

ValueId AddFloat(Graph& graph, const std::string& name, const Shape& shape) {
  Value value;
  value.name = name;
  value.dtype = DType::kFloat32;
  value.shape = shape;
  return graph.AddValue(std::move(value));
}

void AddLayer(Graph& graph, const FloatConvOp& op, ValueId input, ValueId output) {
  Node node;
  node.name = graph.value(output).name;
  node.op = "Conv";
  node.inputs = {input};
  node.outputs = {output};
  node.lowered = op;
  graph.nodes.push_back(std::move(node));
}

struct Network {
  Graph graph;
  FloatConvOp op;
  ValueId input, output;
};

// One 3x3 convolution of [1,16,6,7], padded with zeros.
Network MakeNetwork(std::mt19937& random) {
  std::normal_distribution<float> normal(0.0F, 0.5F);
  Network net;
  net.graph.batchable = true;
  net.input = AddFloat(net.graph, "x", {1, 16, 6, 7});
  net.output = AddFloat(net.graph, "y", {1, 24, 6, 7});
  std::vector<float> weights(24 * 16 * 9);
  for (float& w : weights) w = normal(random);
  net.op.weights = std::make_shared<const Tensor>(
      Tensor::Of<float>(DType::kFloat32, {24, 16, 3, 3}, std::move(weights)));
  for (int o = 0; o < 24; ++o) net.op.bias.push_back(normal(random));
  net.op.pad_top = net.op.pad_left = net.op.pad_bottom = net.op.pad_right = 1;
  AddLayer(net.graph, net.op, net.input, net.output);
  net.graph.inputs.push_back({net.input, "x", DType::kFloat32, {}});
  net.graph.outputs.push_back({net.output, "y", DType::kFloat32, {}});
  return net;
}

std::vector<float> RunOne(const Graph& graph, const std::vector<float>& x) {
  const TensorView view{DType::kFloat32, graph.value(graph.inputs[0].value).shape, x.data()};
  const auto outputs = RunLoweredReference(graph, absl::MakeConstSpan(&view, 1));
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  const auto values = (*outputs)[0].span<float>();
  return {values.begin(), values.end()};
}

TEST(QuantizeFloatTest, EachOutputIsWithinTheBound) {
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    const Network net = MakeNetwork(random);
    std::uniform_real_distribution<float> uniform(round % 2 == 0 ? -1.0F : 0.0F, 2.0F);
    std::vector<float> x(16 * 6 * 7);
    for (float& value : x) value = uniform(random);
    const ActivationRange range = {round % 2 == 0 ? -1.0F : 0.0F, 2.0F};
    const auto fast = QuantizeFloatLayers(net.graph, {{net.output, range}});
    ASSERT_TRUE(fast.ok()) << fast.status();
    ASSERT_TRUE(std::holds_alternative<LowBitConvOp>(fast->nodes.back().lowered));
    const std::vector<float> wanted = RunOne(net.graph, x), got = RunOne(*fast, x);
    ASSERT_EQ(wanted.size(), got.size());
    // The zero point moves the range by half a code, so the ends may saturate by as much.
    const double s = CodesOf(range).scale;
    const auto weights = net.op.weights->span<float>();
    bool differs = false;
    for (size_t o = 0; o < 24; ++o) {
      double sum = 0.0, top = 0.0;
      for (size_t i = 0; i < 144; ++i) {
        sum += std::fabs(double{weights[o * 144 + i]});
        top = std::max(top, std::fabs(double{weights[o * 144 + i]}));
      }
      const double t = top / 127.0;
      const double bound = sum * s + 144 * 2.0 * t / 2 + 144 * s * t / 4 + 1e-4;
      for (size_t p = 0; p < 42; ++p) {
        ASSERT_NEAR(got[o * 42 + p], wanted[o * 42 + p], bound) << "round " << round;
        differs = differs || got[o * 42 + p] != wanted[o * 42 + p];
      }
    }
    EXPECT_TRUE(differs);
  }
}

TEST(QuantizeFloatTest, ZeroIsACodeSoThatPaddingIsExact) {
  std::mt19937 random(6);
  const Network net = MakeNetwork(random);
  const std::vector<float> zeros(16 * 6 * 7, 0.0F);
  for (const ActivationRange& range :
       {ActivationRange{-0.37F, 1.91F}, {0.0F, 3.0F}, {-5.0F, 0.0F}}) {
    const auto fast = QuantizeFloatLayers(net.graph, {{net.output, range}});
    ASSERT_TRUE(fast.ok()) << fast.status();
    const std::vector<float> got = RunOne(*fast, zeros);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], net.op.bias[i / 42]);
  }
}

TEST(QuantizeFloatTest, LayersOfOneInputAndRangeShareItsCodes) {
  std::mt19937 random(7);
  Network net = MakeNetwork(random);
  const ValueId other = AddFloat(net.graph, "z", {1, 24, 6, 7});
  AddLayer(net.graph, net.op, net.input, other);
  net.graph.outputs.push_back({other, "z", DType::kFloat32, {}});
  const ActivationRange range = {-1.0F, 1.0F};
  const auto quantizers = [](const Graph& graph) {
    return std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
      return std::holds_alternative<QuantizeOp>(node.lowered);
    });
  };
  const auto same = QuantizeFloatLayers(net.graph, {{net.output, range}, {other, range}});
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(quantizers(*same), 1);
  const auto apart = QuantizeFloatLayers(net.graph, {{net.output, range}, {other, {-1.0F, 2.0F}}});
  ASSERT_TRUE(apart.ok()) << apart.status();
  EXPECT_EQ(quantizers(*apart), 2);
  const auto one = QuantizeFloatLayers(net.graph, {{other, range}});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_TRUE(std::holds_alternative<FloatConvOp>(one->nodes[0].lowered));
}

TEST(QuantizeFloatTest, RangesThatMakeNoCodesAreRefused) {
  std::mt19937 random(8);
  const Network net = MakeNetwork(random);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const ActivationRange& range : {ActivationRange{0.0F, 0.0F},
                                       {1.0F, 2.0F},
                                       {-2.0F, -1.0F},
                                       {2.0F, -2.0F},
                                       {0.0F, kInfinity},
                                       {nan, 1.0F},
                                       {0.0F, 1e-44F}}) {
    EXPECT_FALSE(IsUsable(range)) << range.low << ".." << range.high;
    EXPECT_EQ(QuantizeFloatLayers(net.graph, {{net.output, range}}).status().code(),
              absl::StatusCode::kInternal);
  }
}

TEST(QuantizeFloatTest, NotANumberIsTheLowestCode) {
  std::mt19937 random(9);
  const Network net = MakeNetwork(random);
  const ActivationRange range = {-1.0F, 1.0F};
  const auto fast = QuantizeFloatLayers(net.graph, {{net.output, range}});
  ASSERT_TRUE(fast.ok()) << fast.status();
  std::vector<float> lowest(16 * 6 * 7, 0.25F);
  std::vector<float> nan = lowest;
  lowest[100] = -1000.0F;
  nan[100] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(RunOne(*fast, nan), RunOne(*fast, lowest));
}

TEST(QuantizeFloatTest, LayersThatGainNothingSayWhy) {
  std::mt19937 random(10);
  Network net = MakeNetwork(random);
  FloatConvOp depthwise;
  depthwise.groups = 24;
  depthwise.weights = std::make_shared<const Tensor>(
      Tensor::Of<float>(DType::kFloat32, {24, 1, 1, 1}, std::vector<float>(24, 1.0F)));
  const ValueId output = AddFloat(net.graph, "d", {1, 24, 6, 7});
  AddLayer(net.graph, depthwise, net.output, output);
  const std::vector<FloatLayer> layers = FindFloatLayers(net.graph);
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].refusal, "");
  EXPECT_EQ(layers[0].macs, 24 * 16 * 9 * 42);
  EXPECT_THAT(layers[1].refusal, HasSubstr("groups of 1 channels"));
}

}  // namespace
}  // namespace bitmill
