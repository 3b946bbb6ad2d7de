#include "server/analysis/quality/drift_scores.h"

#include <cmath>
#include <limits>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/analysis/quality/expected.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> Count(const FeatureReference& feature, const std::vector<float>& values) {
  std::vector<int64_t> counts(static_cast<size_t>(feature.bins()), 0);
  for (const float value : values) ++counts[static_cast<size_t>(feature.BinOf(value))];
  return counts;
}

std::vector<float> Column(absl::Span<const float> rows, size_t columns, size_t column) {
  std::vector<float> values;
  for (size_t i = column; i < rows.size(); i += columns) values.push_back(rows[i]);
  return values;
}

// Shares with half a value added: 1.5/5 and 3.5/5 against 3.5/5 and 1.5/5.
TEST(DriftScoresTest, StabilityByHand) {
  EXPECT_NEAR(PopulationStability({1, 3}, {3, 1}), 2 * 0.4 * std::log(0.7 / 0.3), 1e-12);
  EXPECT_EQ(PopulationStability({5, 7}, {5, 7}), 0);
  EXPECT_EQ(PopulationStability({0, 0}, {5, 7}), 0);
}

TEST(DriftScoresTest, KolmogorovSmirnovByHand) {
  // Cumulative 0.1 0.5 1 against 0.4 0.7 1.
  EXPECT_NEAR(KolmogorovSmirnov({1, 4, 5}, {4, 3, 3}), 0.3, 1e-12);
  EXPECT_EQ(KolmogorovSmirnov({}, {}), 0);
}

TEST(DriftScoresTest, AConstantFeatureHasThreeBins) {
  const FeatureReference feature(std::vector<float>(100, 5.0F));
  EXPECT_EQ(feature.bins(), 3);
  EXPECT_THAT(Count(feature, {4, 5, 5, 6}), ElementsAre(1, 2, 1));
  EXPECT_TRUE(feature.InRange(5));
  EXPECT_FALSE(feature.InRange(5.01F));
  EXPECT_FALSE(feature.IsOutlier(5));
  EXPECT_TRUE(feature.IsOutlier(5.01F));
}

TEST(DriftScoresTest, EqualQuantilesMakeOneCut) {
  std::vector<float> values(900, 0.0F);
  for (int i = 0; i < 100; ++i) values.push_back(static_cast<float>(i + 1));
  const FeatureReference feature(values);
  // Below 0, 0, four quantiles up to 100, above.
  EXPECT_THAT(feature.cuts().subspan(1), ElementsAre(0, 25, 50, 75, 100));
  EXPECT_THAT(feature.counts(), ElementsAre(0, 900, 25, 25, 25, 25, 0));
}

TEST(DriftScoresTest, LeavesOutWhatIsNotFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  const FeatureReference feature({1, std::nanf(""), infinity, -infinity, 3});
  EXPECT_DOUBLE_EQ(feature.mean(), 2);
  EXPECT_DOUBLE_EQ(feature.deviation(), 1);
  EXPECT_FALSE(feature.InRange(infinity));
  EXPECT_EQ(feature.BinOf(infinity), feature.bins() - 1);
  EXPECT_EQ(feature.BinOf(-infinity), 0);

  const FeatureReference nothing({std::nanf("")});
  EXPECT_EQ(nothing.bins(), 1);
  EXPECT_TRUE(nothing.InRange(1e30F));
  EXPECT_FALSE(nothing.IsOutlier(1e30F));
  EXPECT_EQ(nothing.To(Count(nothing, {1, 2})).psi, 0);
}

TEST(DriftScoresTest, OutliersAreFourDeviationsFromTheMean) {
  std::vector<float> values;
  for (int i = 0; i < 1000; ++i) values.push_back(i % 2 == 0 ? -1 : 1);
  const FeatureReference feature(values);  // mean 0, deviation 1
  EXPECT_FALSE(feature.IsOutlier(4));
  EXPECT_TRUE(feature.IsOutlier(4.001F));
  EXPECT_TRUE(feature.IsOutlier(-4.001F));
}

TEST(DriftScoresTest, AgreesWithNumPyAndSciPy) {
  constexpr size_t kColumns = 6;
  const auto reference = ExpectedValues<float>("reference");
  const auto sample = ExpectedValues<float>("sample");
  ASSERT_EQ(sample.size(), 1500 * kColumns);
  for (size_t i = 0; i < kColumns; ++i) {
    const FeatureReference feature(Column(reference, kColumns, i));
    const auto distance = feature.To(Count(feature, Column(sample, kColumns, i)));
    EXPECT_NEAR(distance.psi, ExpectedValues<double>("psi")[i], 1e-9) << i;
    EXPECT_NEAR(distance.ks, ExpectedValues<double>("ks_at_cuts")[i], 1e-12) << i;
    // The true statistic is not smaller, and not much larger.
    EXPECT_LE(distance.ks, ExpectedValues<double>("ks")[i] + 1e-12) << i;
    EXPECT_GE(distance.ks, ExpectedValues<double>("ks")[i] - 1.0 / 40) << i;
  }
}

TEST(DriftScoresTest, TellsDriftFromNone) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> reference, same, shifted;
  for (int i = 0; i < 2000; ++i) {
    reference.push_back(normal(random));
    same.push_back(normal(random));
    shifted.push_back(normal(random) + 0.7F);
  }
  const FeatureReference feature(reference);
  EXPECT_LT(feature.To(Count(feature, same)).psi, 0.05);
  EXPECT_GT(feature.To(Count(feature, shifted)).psi, kPsiOtherDistribution);
}

}  // namespace
}  // namespace bitmill
