#include "tools/load/latency_stats.h"

#include <numeric>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

TEST(LatencyStatsTest, PercentileIsTheNearestRank) {
  std::vector<int64_t> values(1000);
  std::iota(values.begin(), values.end(), 1);  // 1 .. 1000
  EXPECT_EQ(Percentile(values, 0.50), 500);
  EXPECT_EQ(Percentile(values, 0.90), 900);
  EXPECT_EQ(Percentile(values, 0.99), 990);
  EXPECT_EQ(Percentile(values, 0.999), 999);
  EXPECT_EQ(Percentile(values, 1.0), 1000);
  EXPECT_EQ(Percentile(values, 0.0), 1);
}

TEST(LatencyStatsTest, PercentileOfFewValuesIsOneOfThem) {
  EXPECT_EQ(Percentile({7}, 0.99), 7);
  EXPECT_EQ(Percentile({1, 2}, 0.50), 1);
  EXPECT_EQ(Percentile({1, 2}, 0.51), 2);
  EXPECT_EQ(Percentile({1, 2, 3}, 0.99), 3);
}

TEST(LatencyStatsTest, ARankThatIsWholeDoesNotSlipToTheNextValue) {
  std::vector<int64_t> values(10);
  std::iota(values.begin(), values.end(), 1);
  EXPECT_EQ(Percentile(values, 0.9), 9);
  values.resize(100);
  std::iota(values.begin(), values.end(), 1);
  EXPECT_EQ(Percentile(values, 0.29), 29);
  EXPECT_EQ(Percentile(values, 0.57), 57);
}

TEST(LatencyStatsTest, SummaryDoesNotDependOnTheOrder) {
  const LatencySummary summary = Summarize({50, 10, 40, 20, 30});
  EXPECT_EQ(summary.count, 5);
  EXPECT_DOUBLE_EQ(summary.mean_ns, 30.0);
  EXPECT_EQ(summary.min_ns, 10);
  EXPECT_EQ(summary.p50_ns, 30);
  EXPECT_EQ(summary.p90_ns, 50);
  EXPECT_EQ(summary.max_ns, 50);
}

TEST(LatencyStatsTest, CountsWhatIsWithinAnObjective) {
  EXPECT_EQ(CountWithin({1'000'000, 2'000'000, 2'000'001}, 2), 2);
  EXPECT_EQ(CountWithin({1, 2, 3}, 0), 3) << "no objective";
}

TEST(LatencyStatsTest, NothingMeasuredIsAllZero) {
  const LatencySummary summary = Summarize({});
  EXPECT_EQ(summary.count, 0);
  EXPECT_EQ(summary.p999_ns, 0);
}

}  // namespace
}  // namespace bitmill
