#include "model/passes/sign_margin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/passes/passes.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

MarginCounts CountRow(const SignMarginProbe& probe, const Shape& shape,
                      const std::vector<float>& row) {
  const TensorView view{DType::kFloat32, shape, row.data()};
  const auto counts = probe.Count({&view, 1});
  EXPECT_TRUE(counts.ok()) << counts.status();
  return counts.ok() ? *counts : MarginCounts{};
}

Graph MustLower(const Graph& graph) {
  auto lowered = Lower(graph);
  EXPECT_TRUE(lowered.ok()) << lowered.status();
  return lowered.ok() ? *std::move(lowered) : Graph{};
}

// Four bits against two columns of weights, then a sign: the sums of {+1 +1 +1 x4} with {+ + + +}
// and {+ + - -} are, by the number of minus signs in the row, compared with 0.
TEST(SignMarginTest, CountsSumsThatOneBitWouldFlip) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 4}));
  x = b.Op("MatMul", {x, b.Constant({4, 2}, {1, 1, 1, 1, 1, -1, 1, -1})});
  x = b.BipolarQuant(x);
  x = b.Op("MatMul", {x, b.Constant({2, 1}, {1, 1})});
  const SignMarginProbe probe(MustLower(b.Build({x})));
  ASSERT_FALSE(probe.empty());
  struct Case {
    std::vector<float> row;
    int64_t near;  // of the two sums; -2 and 0 are within a step of 2 of the threshold 0
  };
  const Case cases[] = {{{1, 1, 1, 1}, 1},      // sums 4 and 0
                        {{1, 1, 1, -1}, 0},     // 2 and 2
                        {{1, 1, -1, -1}, 1},    // 0 and 4
                        {{1, -1, -1, -1}, 1},   // -2 and 2
                        {{-1, -1, -1, -1}, 1},  // -4 and 0
                        {{-1, -1, 1, 1}, 1},    // 0 and -4
                        {{-1, 1, 1, -1}, 2},    // 0 and 0
                        {{-1, -1, -1, 1}, 2}};  // -2 and -2
  for (const Case& one : cases) {
    const MarginCounts counts = CountRow(probe, {1, 4}, one.row);
    EXPECT_EQ(counts.thresholds, 2);
    EXPECT_EQ(counts.near, one.near) << &one - cases;
  }
}

// gamma < 0 flips the comparison, gamma = 0 leaves nothing to compare.
TEST(SignMarginTest, HeedsFlippedComparisonsAndLeavesOutConstantOnes) {
  GraphBuilder b;
  ValueId x = b.BipolarQuant(b.Input("x", {1, 4}));
  x = b.Op("MatMul", {x, b.Constant({4, 3}, std::vector<float>(12, 1))});
  // Signs of sum - 1.5, 1.5 - sum, and 0.5.
  x = b.Op("BatchNormalization",
           {x, b.Constant({3}, {1.0F, -1.0F, 0.0F}), b.Constant({3}, {0.0F, 0.0F, 0.5F}),
            b.Constant({3}, {1.5F, 1.5F, 0.0F}), b.Constant({3}, {1.0F, 1.0F, 1.0F})});
  x = b.BipolarQuant(x);
  x = b.Op("MatMul", {x, b.Constant({3, 1}, {1, 1, 1})});
  const SignMarginProbe probe(MustLower(b.Build({x})));
  const std::pair<std::vector<float>, int64_t> cases[] = {
      {{1, 1, 1, 1}, 0},     // 4: 2 is still above 1.5
      {{1, 1, 1, -1}, 2},    // 2: 0 is below
      {{1, 1, -1, -1}, 2},   // 0: 2 is above
      {{1, -1, -1, -1}, 0},  // -2
  };
  for (const auto& [row, near] : cases) {
    const MarginCounts counts = CountRow(probe, {1, 4}, row);
    EXPECT_EQ(counts.thresholds, 2);
    EXPECT_EQ(counts.near, near);
  }
}

TEST(SignMarginTest, AFloatModelHasNone) {
  GraphBuilder b;
  ValueId x = b.Op("MatMul", {b.Input("x", {1, 4}), b.Constant({4, 1}, {0.1F, 0.2F, 0.3F, 0.4F})});
  const SignMarginProbe probe(MustLower(b.Build({x})));
  EXPECT_TRUE(probe.empty());
  EXPECT_EQ(CountRow(probe, {1, 4}, {1, 2, 3, 4}).thresholds, 0);
}

TEST(SignMarginTest, RefusesInputsThatDoNotFit) {
  GraphBuilder b;
  const ValueId x = b.Op("Relu", {b.Input("x", {1, 4})});
  const SignMarginProbe probe(MustLower(b.Build({x})));
  EXPECT_EQ(probe.Count({}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bitmill
