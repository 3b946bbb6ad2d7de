#include "model/passes/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace bitmill {
namespace {

using ::testing::ElementsAre;

TEST(FindIntegerWeightsTest, KeepsPlainSigns) {
  const auto found = FindIntegerWeights({1.0F, -1.0F, -1.0F, 1.0F}, 2);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->bits, 1);
  EXPECT_FALSE(found->ternary);
  EXPECT_THAT(found->values, ElementsAre(1, -1, -1, 1));
  EXPECT_THAT(found->scale, ElementsAre(1.0F, 1.0F));
}

TEST(FindIntegerWeightsTest, GivesEachChannelItsScale) {
  const auto found = FindIntegerWeights({0.25F, -0.25F, 3.0F, 3.0F}, 2);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->bits, 1);
  EXPECT_THAT(found->scale, ElementsAre(0.25F, 3.0F));
}

TEST(FindIntegerWeightsTest, TellsTernaryFromTwoBits) {
  const auto ternary = FindIntegerWeights({0.5F, 0.0F, -0.5F}, 1);
  ASSERT_TRUE(ternary);
  EXPECT_EQ(ternary->bits, 2);
  EXPECT_TRUE(ternary->ternary);
  const auto two_bits = FindIntegerWeights({-1.0F, 0.0F, 0.5F}, 1);
  ASSERT_TRUE(two_bits);
  EXPECT_EQ(two_bits->bits, 2);
  EXPECT_FALSE(two_bits->ternary);
  EXPECT_THAT(two_bits->values, ElementsAre(-2, 0, 1));
}

TEST(FindIntegerWeightsTest, TurnsAChannelAroundWhereThatSavesABit) {
  const auto found = FindIntegerWeights({2.0F, 0.0F, -1.0F}, 1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->bits, 2);
  EXPECT_THAT(found->values, ElementsAre(-2, 0, 1));
  EXPECT_THAT(found->scale, ElementsAre(-1.0F));
}

TEST(FindIntegerWeightsTest, CountsAZeroChannelAsTernary) {
  const auto found = FindIntegerWeights({0.0F, 0.0F, 1.0F, -1.0F}, 2);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->ternary);
}

TEST(FindIntegerWeightsTest, RecoversIntegersFromRoundedProducts) {
  std::mt19937 random(7);
  for (const int bits : {2, 4, 8}) {
    std::uniform_int_distribution<int> integer(-(1 << (bits - 1)), (1 << (bits - 1)) - 1);
    std::uniform_real_distribution<float> scales(1e-4F, 10.0F);
    for (int round = 0; round < 50; ++round) {
      const float scale = scales(random);
      std::vector<int> integers{-(1 << (bits - 1)), 1};  // nothing divides all of them
      for (int i = 0; i < 30; ++i) integers.push_back(integer(random));
      std::vector<float> weights;
      for (const int i : integers) weights.push_back(static_cast<float>(i) * scale);
      const auto found = FindIntegerWeights(weights, 1);
      ASSERT_TRUE(found);
      EXPECT_EQ(found->bits, bits);
      for (size_t i = 0; i < weights.size(); ++i) {
        ASSERT_EQ(found->values[i], integers[i]) << "scale " << scale;
        ASSERT_NEAR(static_cast<float>(found->values[i]) * found->scale[0], weights[i],
                    2e-7F * std::fabs(weights[i]));
      }
    }
  }
}

TEST(FindIntegerWeightsTest, RefusesRealNumbersAndWideIntegers) {
  std::mt19937 random(11);
  std::normal_distribution<float> real;
  std::vector<float> weights(64);
  for (float& w : weights) w = real(random);
  EXPECT_FALSE(FindIntegerWeights(weights, 1));
  EXPECT_FALSE(FindIntegerWeights({1.0F, 200.0F}, 1));
  EXPECT_FALSE(FindIntegerWeights({128.0F, -128.0F, 1.0F}, 1));
  EXPECT_FALSE(FindIntegerWeights({1.0F, std::nanf("")}, 1));
  EXPECT_FALSE(FindIntegerWeights({1.0F, INFINITY}, 1));
  EXPECT_FALSE(FindIntegerWeights({}, 0));
}

}  // namespace
}  // namespace bitmill
