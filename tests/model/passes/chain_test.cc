#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/lowered.h"
#include "model/passes/affine.h"

namespace bitmill {
namespace {

TEST(EvaluateChainTest, RoundsAfterEachStepInTheOrderWritten) {
  const Chain chain{{ChainOp::kSub, {0.1F, 0.3F}, {}}, {ChainOp::kDiv, {3.0F}, {}}};
  EXPECT_EQ(EvaluateChain(chain, 1.0F, 0), (1.0F - 0.1F) / 3.0F);
  EXPECT_EQ(EvaluateChain(chain, 1.0F, 1), (1.0F - 0.3F) / 3.0F);
}

TEST(EvaluateChainTest, RoundsTiesToEven) {
  const Chain chain{{ChainOp::kRound, {}, {}}};
  EXPECT_EQ(EvaluateChain(chain, 0.5F, 0), 0.0F);
  EXPECT_EQ(EvaluateChain(chain, 1.5F, 0), 2.0F);
  EXPECT_EQ(EvaluateChain(chain, -2.5F, 0), -2.0F);
}

TEST(EvaluateChainTest, ClipKeepsNotANumber) {
  const Chain chain{{ChainOp::kClip, {-1.0F}, {1.0F}}};
  EXPECT_TRUE(std::isnan(EvaluateChain(chain, std::nanf(""), 0)));
  EXPECT_EQ(EvaluateChain(chain, 7.0F, 0), 1.0F);
}

struct DirectionCase {
  const char* name;
  Chain chain;
  bool monotone;
  int direction;
};

class ChainMonotonicityTest : public ::testing::TestWithParam<DirectionCase> {};

TEST_P(ChainMonotonicityTest, SaysWhichWayTheChainGoes) {
  const Monotonicity got = ChainMonotonicity(GetParam().chain, 0);
  EXPECT_EQ(got.monotone, GetParam().monotone);
  if (GetParam().monotone) {
    EXPECT_EQ(got.direction, GetParam().direction);
  }
}

const ChainStep kRelu{ChainOp::kRelu, {}, {}};
const ChainStep kNeg{ChainOp::kNeg, {}, {}};

INSTANTIATE_TEST_SUITE_P(
    Cases, ChainMonotonicityTest,
    ::testing::Values(
        DirectionCase{"Empty", {}, true, 1},
        DirectionCase{"TwiceNegated", {kNeg, {ChainOp::kMul, {-2.0F}, {}}}, true, 1},
        DirectionCase{"ReverseSub", {{ChainOp::kReverseSub, {1.0F}, {}}}, true, -1},
        DirectionCase{"ZeroFactor", {{ChainOp::kMul, {0.0F}, {}}}, true, 0},
        DirectionCase{"NegativePartOfRelu", {kRelu, kNeg, kRelu}, true, 0},
        DirectionCase{"SquareOfAnything", {{ChainOp::kPow, {2.0F}, {}}}, false, 0},
        DirectionCase{"SquareBehindRelu", {kRelu, {ChainOp::kPow, {2.0F}, {}}}, true, 1},
        DirectionCase{"Cube", {{ChainOp::kPow, {3.0F}, {}}}, true, 1},
        DirectionCase{"RootOfAnything", {{ChainOp::kSqrt, {}, {}}}, false, 0},
        DirectionCase{"RootBehindAbs", {{ChainOp::kAbs, {}, {}}}, false, 0},
        DirectionCase{"AbsOfNegative", {kRelu, kNeg, {ChainOp::kAbs, {}, {}}}, true, 1},
        DirectionCase{"LeakyReluThatTurns", {{ChainOp::kLeakyRelu, {-0.5F}, {}}}, false, 0},
        DirectionCase{"ReciprocalOfAnything", {{ChainOp::kReverseDiv, {1.0F}, {}}}, false, 0},
        DirectionCase{"ReciprocalOfPositive",
                      {{ChainOp::kClip, {1.0F}, {9.0F}}, {ChainOp::kReverseDiv, {1.0F}, {}}},
                      true,
                      -1},
        DirectionCase{"InfiniteOperand",
                      {{ChainOp::kAdd, {std::numeric_limits<float>::infinity()}, {}}},
                      false,
                      0},
        DirectionCase{"DivisionByZero", {{ChainOp::kDiv, {0.0F}, {}}}, false, 0}),
    [](const auto& test) { return test.param.name; });

TEST(EvaluateQuantizerTest, ClampsAndGivesNotANumberCodeZero) {
  Quantizer quantizer;
  quantizer.code = {CodeKind::kUInt8, 0.5F, 4, 9};
  quantizer.offset = 4.0F;
  EXPECT_EQ(EvaluateQuantizer(quantizer, 0.0F), 4);
  EXPECT_EQ(EvaluateQuantizer(quantizer, -99.0F), 0);
  EXPECT_EQ(EvaluateQuantizer(quantizer, std::numeric_limits<float>::infinity()), 8);
  EXPECT_EQ(EvaluateQuantizer(quantizer, std::nanf("")), 0);
}

TEST(EvaluateQuantizerTest, NegativeZeroIsPlusOneAndNotANumberMinusOne) {
  Quantizer quantizer;
  quantizer.code.kind = CodeKind::kBits;
  EXPECT_EQ(EvaluateQuantizer(quantizer, -0.0F), 0);
  EXPECT_EQ(EvaluateQuantizer(quantizer, -1e-30F), 1);
  EXPECT_EQ(EvaluateQuantizer(quantizer, std::nanf("")), 1);
}

TEST(FoldClampedAffineTest, MovesClampsBehindTheAffineMap) {
  const Chain chain{{ChainOp::kAdd, {1.0F}, {}}, kRelu, {ChainOp::kMul, {-2.0F}, {}}};
  ClampedAffine folded;
  ASSERT_TRUE(FoldClampedAffine(chain, 0, &folded));
  EXPECT_EQ(folded.map.a, -2.0);
  EXPECT_EQ(folded.map.b, -2.0);
  EXPECT_EQ(folded.high, 0.0);
  EXPECT_EQ(folded.low, -std::numeric_limits<double>::infinity());
}

TEST(FoldClampedAffineTest, RefusesWhatIsNotAffine) {
  ClampedAffine folded;
  EXPECT_FALSE(FoldClampedAffine({{ChainOp::kTanh, {}, {}}}, 0, &folded));
  EXPECT_FALSE(FoldClampedAffine({{ChainOp::kMul, {0.0F}, {}}}, 0, &folded));
}

// What the layer's map and the rest make of x, against the chain itself.
void ExpectSameFunction(const Chain& chain, const FoldedChain& folded, int64_t channels) {
  ASSERT_EQ(static_cast<int64_t>(folded.maps.size()), channels);
  for (int64_t c = 0; c < channels; ++c) {
    const Affine& map = folded.maps[static_cast<size_t>(c)];
    for (float x = -20.0F; x <= 20.0F; x += 0.37F) {
      const auto mapped = static_cast<float>(map.a * x + map.b);
      EXPECT_NEAR(EvaluateChain(folded.rest, mapped, c), EvaluateChain(chain, x, c), 1e-4F)
          << "channel " << c << ", x " << x;
    }
  }
}

TEST(FoldIntoLayerTest, ABatchNormBehindAReluIsAClip) {
  const Chain chain{{ChainOp::kMul, {0.5F}, {}},        kRelu,
                    {ChainOp::kSub, {1.0F, -2.0F}, {}}, {ChainOp::kDiv, {0.7F, 3.0F}, {}},
                    {ChainOp::kMul, {-1.5F, 2.0F}, {}}, {ChainOp::kAdd, {0.25F, -4.0F}, {}}};
  const FoldedChain folded = FoldIntoLayer(chain, 2);
  ASSERT_EQ(folded.rest.size(), 1U);
  EXPECT_EQ(folded.rest[0].op, ChainOp::kClip);
  EXPECT_EQ(folded.rest[0].operand[0], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(folded.rest[0].operand2[1], std::numeric_limits<float>::infinity());
  ExpectSameFunction(chain, folded, 2);
}

TEST(FoldIntoLayerTest, ClampsBehindThatJoinTheClipAndWhatFollowsStays) {
  const Chain chain{kRelu,
                    {ChainOp::kMul, {3.0F}, {}},
                    {ChainOp::kClip, {1.0F}, {6.0F}},
                    {ChainOp::kTanh, {}, {}},
                    {ChainOp::kMul, {2.0F}, {}}};
  const FoldedChain folded = FoldIntoLayer(chain, 3);
  ASSERT_EQ(folded.rest.size(), 3U);
  EXPECT_EQ(folded.rest[1].op, ChainOp::kTanh);
  ExpectSameFunction(chain, folded, 3);
}

TEST(FoldIntoLayerTest, AClampWithNothingAffineBehindItStaysWhatItIs) {
  const Chain chain{{ChainOp::kAdd, {2.0F}, {}}, kRelu};
  const FoldedChain folded = FoldIntoLayer(chain, 2);
  ASSERT_EQ(folded.rest.size(), 1U);
  EXPECT_EQ(folded.rest[0].op, ChainOp::kRelu);
  ExpectSameFunction(chain, folded, 2);
}

TEST(FoldIntoLayerTest, AChannelThatIsConstantLeavesClampsAlone) {
  const Chain chain{{ChainOp::kAdd, {1.0F}, {}}, kRelu, {ChainOp::kMul, {2.0F, 0.0F}, {}}};
  const FoldedChain folded = FoldIntoLayer(chain, 2);
  EXPECT_EQ(folded.rest.size(), 2U);
  ExpectSameFunction(chain, folded, 2);
}

TEST(JoinAffineStepsTest, LeavesAProductAndASumOfABatchNorm) {
  const Chain chain{{ChainOp::kLeakyRelu, {0.1F}, {}}, {ChainOp::kSub, {1.0F, -2.0F}, {}},
                    {ChainOp::kDiv, {0.7F}, {}},       {ChainOp::kMul, {-1.5F, 2.0F}, {}},
                    {ChainOp::kAdd, {0.25F}, {}},      {ChainOp::kTanh, {}, {}},
                    {ChainOp::kMul, {2.0F}, {}},       {ChainOp::kAdd, {1.0F}, {}}};
  const Chain joined = JoinAffineSteps(chain);
  ASSERT_EQ(joined.size(), 6U);
  EXPECT_EQ(joined[1].op, ChainOp::kMul);
  EXPECT_EQ(joined[2].op, ChainOp::kAdd);
  EXPECT_EQ(joined[5].operand.size(), 1U);  // nothing to gain: as it was
  ExpectSameFunction(chain, {{Affine{}, Affine{}}, joined}, 2);
}

TEST(JoinAffineStepsTest, LeavesOutWhatDoesNothing) {
  const Chain shift{{ChainOp::kAdd, {1.0F}, {}}, {ChainOp::kSub, {3.0F}, {}}};
  ASSERT_EQ(JoinAffineSteps(shift).size(), 1U);
  EXPECT_EQ(JoinAffineSteps(shift)[0].op, ChainOp::kAdd);
  EXPECT_TRUE(JoinAffineSteps({{ChainOp::kNeg, {}, {}}, {ChainOp::kNeg, {}, {}}}).empty());
}

TEST(JoinAffineStepsTest, KeepsStepsWhoseProductIsNoFloat) {
  const Chain chain{{ChainOp::kDiv, {1e-30F}, {}}, {ChainOp::kDiv, {1e-30F}, {}}};
  EXPECT_EQ(JoinAffineSteps(chain).size(), 2U);
  EXPECT_EQ(JoinAffineSteps(chain)[0].op, ChainOp::kDiv);
}

}  // namespace
}  // namespace bitmill
