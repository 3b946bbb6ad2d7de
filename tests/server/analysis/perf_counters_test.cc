#include "server/analysis/perf_counters.h"

#include <gtest/gtest.h>

#include "absl/status/status.h"

namespace bitmill {
namespace {

TEST(PerfCountersTest, ExtrapolatesWhatWasCountedPartOfTheTime) {
  EXPECT_EQ(ExtrapolateCount(1'000, 50, 50), 1'000);
  EXPECT_EQ(ExtrapolateCount(1'000, 100, 25), 4'000);
  EXPECT_EQ(ExtrapolateCount(0, 100, 25), 0);
  EXPECT_EQ(ExtrapolateCount(1'000, 100, 0), -1);
  EXPECT_EQ(ExtrapolateCount(INT64_MAX, INT64_MAX, 1), -1);
}

TEST(PerfCountersTest, GivesRatiosOfWhatHappenedInBetween) {
  const PerfReading first{
      .cycles = 1'000, .instructions = 500, .cache_misses = 10, .branch_misses = 20};
  const PerfReading last{
      .cycles = 3'000, .instructions = 3'500, .cache_misses = 110, .branch_misses = 60};
  const PerfWindow window = PerfBetween(first, last, 2.0);
  EXPECT_DOUBLE_EQ(window.instructions_per_cycle, 1.5);
  EXPECT_DOUBLE_EQ(window.cache_misses_per_s, 50);
  EXPECT_DOUBLE_EQ(window.branch_misses_per_s, 20);
  EXPECT_DOUBLE_EQ(window.memory_bytes_per_s_estimate, 50 * 64);
}

TEST(PerfCountersTest, WhatIsMissingWentBackOrStoodStillIsNotKnown) {
  const PerfReading reading{.cycles = 1'000, .instructions = 500, .cache_misses = -1};
  EXPECT_EQ(PerfBetween(reading, reading, 1).instructions_per_cycle, -1);
  EXPECT_EQ(PerfBetween(reading, reading, 1).cache_misses_per_s, -1);
  EXPECT_EQ(PerfBetween(reading, reading, 1).memory_bytes_per_s_estimate, -1);
  const PerfReading smaller{.cycles = 900, .instructions = 400};
  EXPECT_EQ(PerfBetween(reading, smaller, 1).instructions_per_cycle, -1);
  EXPECT_EQ(PerfBetween({}, {}, 1).instructions_per_cycle, -1);
}

// Both answers are right, by machine: counts that grow with the work, or a reason.
TEST(PerfCountersTest, CountsOrSaysWhyNot) {
  const auto reader = OpenPerfEvents();
  if (!reader.ok()) {
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_FALSE(reader.status().message().empty());
    return;
  }
  const PerfReading before = (*reader)->Read();
  volatile int64_t sum = 0;
  for (int i = 0; i < 1'000'000; ++i) sum = sum + i;
  const PerfReading after = (*reader)->Read();
  EXPECT_GE(after.cycles, before.cycles + 100'000);
}

}  // namespace
}  // namespace bitmill
