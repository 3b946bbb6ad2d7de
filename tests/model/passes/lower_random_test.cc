// Random networks give the same outputs before and after lowering.
#include <gtest/gtest.h>

#include <cmath>

#include "model/passes/passes.h"
#include "tests/model/passes/graph_builder.h"
#include "tests/model/passes/random_graph.h"

namespace bitmill {
namespace {

constexpr uint32_t kGraphs = 400;
constexpr uint32_t kInputs = 3;

class LowerRandomTest : public ::testing::TestWithParam<uint32_t> {};

// The last layer's scale and bias are folded in double precision, hence the tolerance; whatever is
// quantized must be equal, or the outputs would be off by a whole step.
TEST_P(LowerRandomTest, GivesTheOutputsOfTheOriginal) {
  const uint32_t seed = GetParam();
  for (uint32_t i = 0; i < kGraphs; ++i) {
    const Graph graph = RandomGraph(seed * 1000 + i, {});
    if (HasFailure()) FAIL() << "graph " << seed * 1000 + i;
    const auto lowered = Lower(graph);
    ASSERT_TRUE(lowered.ok()) << "graph " << seed * 1000 + i << ": " << lowered.status();
    for (uint32_t k = 0; k < kInputs; ++k) {
      const std::vector<float> input = RandomInput(graph, k);
      const std::vector<float> want = RunOriginal(graph, input);
      const std::vector<float> got = RunLowered(*lowered, input);
      ASSERT_EQ(got.size(), want.size());
      for (size_t e = 0; e < want.size(); ++e) {
        ASSERT_NEAR(got[e], want[e], 1e-4F * (1.0F + std::fabs(want[e])))
            << "graph " << seed * 1000 + i << " input " << k << " element " << e << ": "
            << ::testing::PrintToString(LoweredOps(*lowered));
      }
    }
  }
}

// A layer that ends in 8-bit codes has its whole epilogue folded into one scale and bias a channel:
// a result that lies on a tie (or within rounding of one) may be one code off.
TEST_P(LowerRandomTest, RequantizesWithinOneCode) {
  const uint32_t seed = GetParam();
  const RandomGraphOptions options{
      .exact_scales = false, .max_bits = 8, .max_layers = 1, .quantized_output = true};
  int64_t codes = 0;
  int64_t differ = 0;
  int requantized = 0;
  for (uint32_t i = 0; i < kGraphs; ++i) {
    const Graph graph = RandomGraph(seed * 1000 + i, options);
    const auto lowered = Lower(graph);
    ASSERT_TRUE(lowered.ok()) << "graph " << seed * 1000 + i << ": " << lowered.status();
    const auto* conv = OnlyOp<LowBitConvOp>(*lowered);
    if (conv == nullptr || conv->epilogue != LowBitConvOp::Epilogue::kRequantize) continue;
    ++requantized;
    const Node& last = lowered->nodes.back();
    ASSERT_TRUE(std::holds_alternative<DequantizeOp>(last.lowered));
    const float step = lowered->value(last.inputs[0]).code.scale;
    for (uint32_t k = 0; k < kInputs; ++k) {
      const std::vector<float> input = RandomInput(graph, k);
      const std::vector<float> want = RunOriginal(graph, input);
      const std::vector<float> got = RunLowered(*lowered, input);
      ASSERT_EQ(got.size(), want.size());
      for (size_t e = 0; e < want.size(); ++e) {
        ++codes;
        const float gap = std::fabs(got[e] - want[e]);
        ASSERT_LE(gap, 1.01F * step) << "graph " << seed * 1000 + i << " element " << e;
        if (gap > 0.5F * step) ++differ;
      }
    }
  }
  EXPECT_GE(requantized, 10);
  EXPECT_LE(differ * 1000, codes);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LowerRandomTest, ::testing::Range(0U, 5U));

}  // namespace
}  // namespace bitmill
