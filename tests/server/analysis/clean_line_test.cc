#include "server/analysis/clean_line.h"

#include <gtest/gtest.h>

#include <vector>

namespace bitmill {
namespace {

constexpr ServiceLine kKnown{.a_ms = 1, .b_ms = 0.5, .samples = 100};

TEST(CleanLineTest, FindsTheLineThoughATenthOfTheSamplesIsDisturbed) {
  std::vector<CleanSample> samples;
  for (int i = 0; i < 100; ++i) {
    const double rows = 1 + i % 10;
    samples.push_back({.rows = rows, .ns = 2e6 + 0.25e6 * rows + (i < 10 ? 50e6 : 0)});
  }
  const ServiceLine line = FitCleanLine(samples, {}, 5);
  EXPECT_NEAR(line.a_ms, 2, 1e-6);
  EXPECT_NEAR(line.b_ms, 0.25, 1e-6);
  EXPECT_EQ(line.samples, 100);
}

TEST(CleanLineTest, OneSizeOnlyTakesTheShapeOfTheKnownLine) {
  const std::vector<CleanSample> samples(20, {.rows = 2, .ns = 4e6});  // known: 2 ms
  const ServiceLine line = FitCleanLine(samples, kKnown, 5);
  EXPECT_NEAR(line.a_ms, 2, 1e-9);
  EXPECT_NEAR(line.b_ms, 1, 1e-9);
}

TEST(CleanLineTest, OneSizeAndNothingKnownPromisesNothingOfLargerBatches) {
  const std::vector<CleanSample> samples(20, {.rows = 2, .ns = 4e6});
  const ServiceLine line = FitCleanLine(samples, {}, 5);
  EXPECT_EQ(line.a_ms, 0);
  EXPECT_NEAR(line.b_ms, 2, 1e-9);
}

TEST(CleanLineTest, TooFewSamplesLeaveTheKnownLine) {
  const std::vector<CleanSample> samples(3, {.rows = 2, .ns = 4e6});
  EXPECT_EQ(FitCleanLine(samples, kKnown, 5).samples, kKnown.samples);
  EXPECT_EQ(FitCleanLine({}, {}, 5).samples, 0);
}

TEST(CleanLineTest, NeitherPartIsNegative) {
  const std::vector<CleanSample> falling = {{1, 5e6}, {1, 5e6}, {1, 5e6}, {4, 2e6}, {4, 2e6}};
  EXPECT_EQ(FitCleanLine(falling, {}, 5).b_ms, 0);
  const std::vector<CleanSample> steep = {{1, 1e6}, {1, 1e6}, {1, 1e6}, {4, 9e6}, {4, 9e6}};
  EXPECT_EQ(FitCleanLine(steep, {}, 5).a_ms, 0);
}

}  // namespace
}  // namespace bitmill
