#include "server/metrics/native_histogram.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

// The bucket by its definition: the smallest i with seconds <= 2^(i/16).
int IndexByDefinition(int64_t ns) {
  const double seconds = static_cast<double>(ns) / 1e9;
  int index = static_cast<int>(std::floor(std::log2(seconds) * kNativePerOctave)) - 1;
  while (seconds > std::exp2(static_cast<double>(index) / kNativePerOctave)) ++index;
  return index;
}

TEST(NativeHistogramTest, EveryDurationFallsIntoItsBucket) {
  for (int64_t ns = 1000; ns < 200'000'000'000; ns += 1 + ns / 997) {
    ASSERT_EQ(NativeIndex(NativePlace(ns)), IndexByDefinition(ns)) << ns << " ns";
  }
}

TEST(NativeHistogramTest, BoundsBelongToTheBucketBelow) {
  EXPECT_EQ(NativeIndex(NativePlace(1'000'000'000)), 0);
  EXPECT_EQ(NativeIndex(NativePlace(1'000'000'001)), 1);
  EXPECT_EQ(NativeIndex(NativePlace(2'000'000'000)), 16);
  EXPECT_EQ(NativeIndex(NativePlace(500'000'000)), -16);
  EXPECT_EQ(NativeIndex(NativePlace(500'000'001)), -15);
}

TEST(NativeHistogramTest, TheEndsCatchEverything) {
  EXPECT_EQ(NativePlace(0), 0U);
  EXPECT_EQ(NativePlace(-5), 0U);
  EXPECT_EQ(NativePlace(953), 0U);  // 2^-20 s is 953.67 ns
  EXPECT_EQ(NativePlace(954), 1U);
  EXPECT_EQ(NativePlace(256'000'000'000), kNativeBuckets - 1);
  EXPECT_EQ(NativePlace(257'000'000'000), kNativeBuckets - 1);
  EXPECT_EQ(NativePlace(INT64_MAX), kNativeBuckets - 1);
}

TEST(NativeHistogramTest, ABucketIsAtMostFourAndAHalfPercentWide) {
  for (size_t place = 1; place < kNativeBuckets; ++place) {
    const double upper = std::exp2(static_cast<double>(NativeIndex(place)) / kNativePerOctave);
    const double lower = std::exp2(static_cast<double>(NativeIndex(place) - 1) / kNativePerOctave);
    ASSERT_LT((upper - lower) / lower, 0.045);
  }
}

TEST(NativeHistogramTest, CountsWhatIsAdded) {
  NativeHistogram histogram;
  histogram.Add(0);
  histogram.Add(1'000'000'000);
  histogram.Add(990'000'000);  // the same bucket
  NativeCounts counts{};
  histogram.AddTo(counts);
  histogram.AddTo(counts);  // a second stripe
  EXPECT_EQ(counts[0], 2);
  EXPECT_EQ(counts[NativePlace(1'000'000'000)], 4);
}

}  // namespace
}  // namespace bitmill
