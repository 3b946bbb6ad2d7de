#include "server/analysis/limit_share.h"

#include <gtest/gtest.h>

namespace bitmill {
namespace {

constexpr MachineLimits kLimits{
    .l2_bytes_per_s = 80e9, .l3_bytes_per_s = 30e9, .dram_bytes_per_s = 10e9};

TEST(LimitShareTest, ComputeIsTheFloorOfTheRowsOverTheTimeTaken) {
  const ModelFacts facts{.name = "m", .compute_floor_ns = 600};
  EXPECT_DOUBLE_EQ(ShareOfLimits(facts, {}, 100, 10, 100'000).compute, 0.6);
  EXPECT_DOUBLE_EQ(ShareOfLimits(facts, {}, 100, 10, 30'000).compute, 1);  // on several cores
  EXPECT_EQ(ShareOfLimits({}, kLimits, 100, 10, 100'000).compute, -1);
}

TEST(LimitShareTest, MemoryIsTheWeightsOfEachExecutionOverTheRateOfWhereTheyCameFrom) {
  const ModelFacts facts{.name = "m",
                         .weight_bytes = 1'000'000};  // 100 us from DRAM, 33 us from L3
  EXPECT_NEAR(ShareOfLimits(facts, kLimits, 1, 1, 200'000).memory, 0.5, 1e-9);
  EXPECT_NEAR(ShareOfLimits(facts, kLimits, 1, 1, 50'000).memory, 2.0 / 3, 1e-9);
  EXPECT_NEAR(ShareOfLimits(facts, kLimits, 10, 4, 800'000).memory, 0.5, 1e-9);
}

TEST(LimitShareTest, WhatWasNotMeasuredIsNotKnown) {
  const ModelFacts facts{.name = "m", .compute_floor_ns = 600, .weight_bytes = 1'000'000};
  EXPECT_EQ(ShareOfLimits(facts, {}, 1, 1, 1000).memory, -1);
  EXPECT_EQ(ShareOfLimits(facts, kLimits, 1, 1, 0).compute, -1);
}

}  // namespace
}  // namespace bitmill
