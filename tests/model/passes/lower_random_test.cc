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

INSTANTIATE_TEST_SUITE_P(Seeds, LowerRandomTest, ::testing::Range(0U, 5U));

}  // namespace
}  // namespace bitmill
