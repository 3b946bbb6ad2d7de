#include "server/analysis/latency_histogram.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

double ExactQuantile(std::vector<double> values, double quantile) {
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(quantile * static_cast<double>(values.size())) - 1;
  return values[static_cast<size_t>(std::max(rank, 0.0))];
}

std::vector<double> LogNormal(double mean_log, size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::lognormal_distribution<double> distribution(mean_log, 0.6);
  std::vector<double> values(count);
  for (double& value : values) value = distribution(generator);
  return values;
}

TEST(LatencyHistogramTest, ABucketHoldsItsUpperEndAndNotItsLower) {
  EXPECT_EQ(BucketUpperMs(1.0), 1.0);
  EXPECT_EQ(BucketUpperMs(1.0001), 1.0625);
  EXPECT_EQ(BucketUpperMs(1.0625), 1.0625);
  EXPECT_EQ(BucketUpperMs(15.9), 16.0);
  EXPECT_EQ(BucketLowerMs(16.0), 15.5);
  EXPECT_EQ(BucketLowerMs(17.0), 16.0);
}

TEST(LatencyHistogramTest, BucketsMeetAndAreNarrow) {
  for (double ms = 0.002; ms < 1e5; ms *= 1.013) {
    const double upper = BucketUpperMs(ms), lower = BucketLowerMs(upper);
    EXPECT_LE(ms, upper);
    EXPECT_GT(ms, lower);
    EXPECT_LE(upper - lower, lower * 0.0625 * (1 + 1e-12)) << ms;
    EXPECT_EQ(BucketUpperMs(lower), lower) << "the one below ends where this one begins";
  }
}

TEST(LatencyHistogramTest, WhatIsNoTimeOrAbsurdHasABucketToo) {
  for (const double ms : {0.0, -1.0, std::nan(""), 1e-9}) EXPECT_EQ(BucketUpperMs(ms), 1.0 / 1024);
  EXPECT_EQ(BucketLowerMs(1.0 / 1024), 0);
  EXPECT_EQ(BucketUpperMs(1e300), 1073741824.0);
  EXPECT_EQ(BucketUpperMs(HUGE_VAL), 1073741824.0);
}

TEST(LatencyHistogramTest, QuantilesAreWithinABucketOfTheExactOnes) {
  const std::vector<double> values = LogNormal(1.5, 20000, 7);
  const LatencyHistogram histogram = HistogramOf(values, 1);
  for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999}) {
    EXPECT_NEAR(QuantileMs(histogram, q), ExactQuantile(values, q), 0.05 * ExactQuantile(values, q))
        << q;
  }
}

TEST(LatencyHistogramTest, MergedIsTheHistogramOfAllTogether) {
  const std::vector<double> fast = LogNormal(0.5, 9000, 1), slow = LogNormal(4, 1000, 2);
  std::vector<double> all = fast;
  all.insert(all.end(), slow.begin(), slow.end());
  LatencyHistogram merged = HistogramOf(fast, 1);
  MergeInto(merged, HistogramOf(slow, 1));
  const LatencyHistogram expected = HistogramOf(all, 1);
  EXPECT_EQ(merged.upper_ms, expected.upper_ms);
  EXPECT_EQ(merged.counts, expected.counts);
  // The mean of the two p99 would be far off: the slow tenth alone decides.
  const double exact = ExactQuantile(all, 0.99);
  EXPECT_NEAR(QuantileMs(merged, 0.99), exact, 0.05 * exact);
}

TEST(LatencyHistogramTest, AWeightCountsSoOften) {
  LatencyHistogram merged = HistogramOf({1.0, 1.0}, 2.5);
  MergeInto(merged, HistogramOf({8.0}, 5));
  EXPECT_THAT(merged.upper_ms, ElementsAre(1.0, 8.0));
  EXPECT_THAT(merged.counts, ElementsAre(5.0, 5.0));
  EXPECT_EQ(QuantileMs(merged, 0.5), 1.0);
  EXPECT_EQ(QuantileMs(merged, 1.0), 8.0);
}

TEST(LatencyHistogramTest, WhatMakesNoSenseIsLeftOut) {
  LatencyHistogram merged;
  MergeInto(merged, {{2, 1, 3, 4, 5}, {1, 7, -3, std::nan("")}});
  EXPECT_THAT(merged.upper_ms, ElementsAre(2.0));
  EXPECT_THAT(merged.counts, ElementsAre(1.0));
  EXPECT_EQ(QuantileMs({}, 0.99), 0);
}

}  // namespace
}  // namespace bitmill
