#include "backends/cpu/compiled_chain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace bitmill {
namespace {

constexpr ChainOp kAllOps[] = {
    ChainOp::kAdd,        ChainOp::kSub,  ChainOp::kMul,   ChainOp::kDiv,     ChainOp::kReverseSub,
    ChainOp::kReverseDiv, ChainOp::kPow,  ChainOp::kClip,  ChainOp::kRelu,    ChainOp::kLeakyRelu,
    ChainOp::kFloor,      ChainOp::kCeil, ChainOp::kRound, ChainOp::kSigmoid, ChainOp::kTanh,
    ChainOp::kHardTanh,   ChainOp::kSqrt, ChainOp::kExp,   ChainOp::kLog,     ChainOp::kAbs,
    ChainOp::kNeg};

bool TakesOperand(ChainOp op) { return op <= ChainOp::kClip || op == ChainOp::kLeakyRelu; }

std::vector<float> RandomValues(std::mt19937& random, size_t count) {
  std::normal_distribution<float> normal(0.0F, 3.0F);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

ChainStep RandomStep(std::mt19937& random, ChainOp op, int64_t channels) {
  ChainStep step;
  step.op = op;
  const auto length = [&] { return random() % 2 == 0 ? size_t{1} : static_cast<size_t>(channels); };
  if (TakesOperand(op)) step.operand = RandomValues(random, length());
  if (op == ChainOp::kClip) step.operand2 = RandomValues(random, length());
  return step;
}

bool SameBits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof a) == 0;
}

struct Case {
  Chain chain;
  int64_t channels, inner;
};

void CheckAgainstDefinition(const Case& c, const FmapKernel& kernel, std::mt19937& random) {
  const auto compiled = CompiledChain::Make(c.chain, c.channels, kernel);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  std::vector<float> planar = RandomValues(random, static_cast<size_t>(c.channels * c.inner));
  planar[0] = std::numeric_limits<float>::quiet_NaN();
  planar.back() = -0.0F;
  std::vector<float> interleaved(planar.size()), out(planar.size());
  for (int64_t ch = 0; ch < c.channels; ++ch) {
    for (int64_t i = 0; i < c.inner; ++i) {
      interleaved[static_cast<size_t>(i * c.channels + ch)] =
          planar[static_cast<size_t>(ch * c.inner + i)];
    }
  }
  compiled->RunPlanar(planar.data(), out.data(), c.inner);
  compiled->RunInterleaved(interleaved.data(), c.inner, c.channels);
  for (int64_t ch = 0; ch < c.channels; ++ch) {
    for (int64_t i = 0; i < c.inner; ++i) {
      const auto at = static_cast<size_t>(ch * c.inner + i);
      const float expected = EvaluateChain(c.chain, planar[at], ch);
      ASSERT_TRUE(SameBits(out[at], expected)) << out[at] << " for " << expected;
      const float pixel = interleaved[static_cast<size_t>(i * c.channels + ch)];
      ASSERT_TRUE(SameBits(pixel, expected)) << pixel << " for " << expected;
    }
  }
}

void CheckAgainstDefinition(const Case& c, std::mt19937& random) {
  int count = 0;
  const FmapKernel* const kernels = FmapKernels(&count);
  for (int i = 0; i < count; ++i) {
    if (!IsaAllows(BestIsa(), kernels[i].isa)) continue;
    SCOPED_TRACE(kernels[i].name);
    CheckAgainstDefinition(c, kernels[i], random);
  }
}

TEST(CompiledChainTest, EachOperationIsItsDefinition) {
  std::mt19937 random(3);
  for (const ChainOp op : kAllOps) {
    for (const int64_t channels : {1, 5, 33}) {
      for (const int64_t inner : {1, 7, 5000}) {
        SCOPED_TRACE(testing::Message() << "op " << static_cast<int>(op) << " channels " << channels
                                        << " inner " << inner);
        CheckAgainstDefinition({{RandomStep(random, op, channels)}, channels, inner}, random);
      }
    }
  }
}

TEST(CompiledChainTest, StepsFollowEachOther) {
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    const auto channels = static_cast<int64_t>(random() % 20 + 1);
    Case c{{}, channels, static_cast<int64_t>(random() % 50 + 1)};
    for (size_t i = 0; i < random() % 5; ++i) {
      c.chain.push_back(RandomStep(random, kAllOps[random() % std::size(kAllOps)], channels));
    }
    CheckAgainstDefinition(c, random);
  }
}

// As a plan file may say: an operand that is not there would be read.
TEST(CompiledChainTest, RefusesStepsWithoutTheirOperands) {
  const FmapKernel& kernel = SelectFmap(BestIsa());
  const auto made = [&](ChainStep step) {
    return CompiledChain::Make({std::move(step)}, 3, kernel).status();
  };
  for (int op = 0; op <= static_cast<int>(ChainOp::kNeg); ++op) {
    ChainStep step{.op = static_cast<ChainOp>(op), .operand = {}, .operand2 = {}};
    const bool two = step.op == ChainOp::kClip;
    const bool one = two || op <= static_cast<int>(ChainOp::kPow) || step.op == ChainOp::kLeakyRelu;
    EXPECT_EQ(made(step).ok(), !one) << op;
    step.operand = {1.0F};
    EXPECT_EQ(made(step).ok(), one && !two) << op;
    step.operand2 = {2.0F, 3.0F, 4.0F};
    EXPECT_EQ(made(step).ok(), two) << op;
  }
}

TEST(CompiledChainTest, RefusesOperandsOfTheWrongLength) {
  ChainStep step;
  step.op = ChainOp::kAdd;
  step.operand = {1.0F, 2.0F};
  EXPECT_EQ(CompiledChain::Make({step}, 3, SelectFmap(BestIsa())).status().code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace bitmill
