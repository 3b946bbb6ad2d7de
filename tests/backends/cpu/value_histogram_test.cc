#include "backends/cpu/value_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

namespace bitmill {
namespace {

TEST(ValueHistogramTest, AnEmptyOneAndZerosHaveNoRange) {
  ValueHistogram histogram;
  EXPECT_EQ(histogram.Range().low, 0.0F);
  histogram.Add({0.0F, -0.0F});
  EXPECT_EQ(histogram.Range().low, 0.0F);
  EXPECT_EQ(histogram.Range().high, 0.0F);
}

TEST(ValueHistogramTest, TheRangeHoldsZeroAndAllFiniteValues) {
  ValueHistogram histogram;
  histogram.Add({3.0F, 5.0F, std::numeric_limits<float>::infinity(),
                 std::numeric_limits<float>::quiet_NaN()});
  EXPECT_EQ(histogram.Range().low, 0.0F);
  EXPECT_EQ(histogram.Range().high, 5.0F);
  histogram.Add({-1e30F, 1e-30F});
  EXPECT_EQ(histogram.Range().low, -1e30F);
}

TEST(ValueHistogramTest, EvenlySpreadValuesAreNotClipped) {
  ValueHistogram histogram;
  for (int i = -500; i <= 500; ++i) histogram.Add({static_cast<float>(i) / 100.0F});
  EXPECT_EQ(histogram.ClippedRange(128).low, -5.0F);
  EXPECT_EQ(histogram.ClippedRange(128).high, 5.0F);
}

TEST(ValueHistogramTest, AFewFarValuesAreClipped) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  ValueHistogram histogram;
  for (int i = 0; i < 100'000; ++i) histogram.Add({normal(random)});
  histogram.Add({20.0F, -20.0F});
  const ActivationRange range = histogram.ClippedRange(128);
  EXPECT_LT(range.high, 10.0F);
  EXPECT_GT(range.high, 2.5F);
  EXPECT_EQ(range.low, -range.high);
}

TEST(ValueHistogramTest, TheOrderOfValuesDoesNotMatter) {
  std::mt19937 random(2);
  std::cauchy_distribution<float> far(0.0F, 1.0F);
  std::vector<float> values(5000);
  for (float& x : values) x = far(random);
  ValueHistogram rising, falling;
  std::sort(values.begin(), values.end(),
            [](float a, float b) { return std::abs(a) < std::abs(b); });
  rising.Add(values);
  std::reverse(values.begin(), values.end());
  falling.Add(values);
  EXPECT_EQ(rising.ClippedRange(128).low, falling.ClippedRange(128).low);
  EXPECT_EQ(rising.ClippedRange(128).high, falling.ClippedRange(128).high);
}

}  // namespace
}  // namespace bitmill
