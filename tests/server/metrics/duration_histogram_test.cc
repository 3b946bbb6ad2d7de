#include "server/metrics/duration_histogram.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics/model_recorder.h"

namespace bitmill {
namespace {

constexpr std::array<int64_t, 3> kBounds = {1'500'000, 2'000'000'000, 3'000'000'000};
using Buckets = NativeBuckets<0, -10, 2>;  // up to 1, 2, 4 s
using Histogram = DurationHistogram<Buckets, kBounds>;

// Durations around every bound of both kinds, and many of all sizes.
std::vector<int64_t> Durations() {
  std::vector<int64_t> durations = {-1, 0, 1, INT64_MAX / 1'000'000};
  for (const auto& bounds :
       {std::vector<int64_t>(kDurationBoundsNs.begin(), kDurationBoundsNs.end()),
        std::vector<int64_t>(kStageBoundsNs.begin(), kStageBoundsNs.end()),
        std::vector<int64_t>(kBounds.begin(), kBounds.end())}) {
    for (const int64_t bound : bounds) {
      for (const int64_t near : {-1, 0, 1}) durations.push_back(bound + near);
    }
  }
  for (int power = 0; power < 40; ++power) {
    for (const int64_t near : {-1, 0, 1}) durations.push_back((int64_t{1} << power) + near);
  }
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(0, 11.5);
  for (int i = 0; i < 20'000; ++i) {
    durations.push_back(static_cast<int64_t>(std::pow(10.0, exponent(random))));
  }
  return durations;
}

// Both kinds of buckets are those that counting each kind alone would give.
template <typename Native, const auto& kBoundsNs>
void ExpectBothAreExact() {
  DurationHistogram<Native, kBoundsNs> histogram;
  AtomicHistogram<kBoundsNs.size()> classic;
  std::vector<int64_t> native(Native::kCount);
  for (const int64_t ns : Durations()) {
    histogram.Add(ns);
    classic.Add(kBoundsNs, ns);
    ++native[Native::Place(ns)];
  }
  DurationCounts<Native, kBoundsNs> counts;
  histogram.AddTo(counts);
  HistogramCounts<kBoundsNs.size()> expected;
  classic.AddTo(expected);
  EXPECT_EQ(counts.Classic().buckets, expected.buckets);
  EXPECT_EQ(counts.Classic().sum, expected.sum);
  EXPECT_EQ(counts.InNativeBuckets().counts, native);
}

TEST(DurationHistogramTest, BothKindsOfBucketsAreExact) {
  ExpectBothAreExact<RequestBuckets, kDurationBoundsNs>();
  ExpectBothAreExact<StageBuckets, kStageBoundsNs>();
  ExpectBothAreExact<Buckets, kBounds>();
}

TEST(DurationHistogramTest, SplitsABucketAtTheBoundInIt) {
  using Grid = DurationGrid<Buckets, kBounds>;
  EXPECT_EQ(Grid::kPlaces, Buckets::kCount + 3);
  EXPECT_FALSE(Grid::IsSplit(0));
  EXPECT_TRUE(Grid::IsSplit(Buckets::Place(3'000'000'000)));
  EXPECT_EQ(Grid::Place(3'000'000'001), Grid::Place(3'000'000'000) + 1);
  EXPECT_EQ(Grid::Place(3'000'000'001), Grid::Place(4'000'000'000));
  // A bound of both kinds: nothing lies above it in its bucket.
  EXPECT_EQ(Grid::Place(2'000'000'001), Grid::Place(2'000'000'000) + 2);
}

TEST(DurationHistogramTest, AddsUpSeveralAndSaysWhichBucketsTheyAre) {
  Histogram one, other;
  one.Add(2'500'000'000);
  other.Add(3'500'000'000);
  other.Add(5);
  Histogram::Counts counts;
  one.AddTo(counts);
  other.AddTo(counts);
  EXPECT_EQ(counts.sum, 6'000'000'005);
  EXPECT_THAT(counts.Classic().buckets, ::testing::ElementsAre(1, 0, 1, 1));
  const NativeCounts native = counts.InNativeBuckets();
  EXPECT_EQ(native.schema, 0);
  EXPECT_EQ(native.zero_seconds, 1.0 / 1024);
  EXPECT_EQ(native.first_index, -9);
  EXPECT_EQ(native.counts.front(), 1);
  EXPECT_EQ(native.counts.back(), 2) << "2 to 4 s";
  EXPECT_EQ(std::accumulate(native.counts.begin(), native.counts.end(), int64_t{0}), 3);
}

}  // namespace
}  // namespace bitmill
