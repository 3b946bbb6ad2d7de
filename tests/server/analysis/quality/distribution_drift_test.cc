#include "server/analysis/quality/distribution_drift.h"

#include <cmath>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kSecond = 1'000'000'000;

// Two features, normal; the second is shifted by `shift`.
class Rows {
 public:
  explicit Rows(unsigned seed) : random_(seed) {}
  void AddTo(DistributionDrift& drift, int count, MonotonicNanos now, float shift = 0,
             int64_t category = 0) {
    for (int i = 0; i < count; ++i) {
      const float row[] = {normal_(random_), normal_(random_) + shift};
      drift.Add(now, row, category);
    }
  }

 private:
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

void InstallRecorded(DistributionDrift& drift) {
  auto recording = drift.TakeRecording();
  ASSERT_TRUE(recording);
  drift.Install(std::make_shared<RowsReference>(recording->values, 2, recording->categories));
}

TEST(DistributionDriftTest, RecordsItsReferenceFirst) {
  Rows rows(1);
  DistributionDrift drift(2, 0, {.reference_rows = 500});
  rows.AddTo(drift, 499, 0);
  EXPECT_FALSE(drift.TakeRecording());
  rows.AddTo(drift, 5, 0);
  const auto recording = drift.TakeRecording();
  ASSERT_TRUE(recording);
  EXPECT_EQ(recording->values.size(), 1000U);  // no more than asked for
  EXPECT_FALSE(drift.TakeRecording());
  EXPECT_FALSE(drift.has_reference());
  EXPECT_EQ(drift.Scores(0).psi, -1);
}

TEST(DistributionDriftTest, SaysNothingOfFewRows) {
  Rows rows(2);
  DistributionDrift drift(2, 0, {.reference_rows = 500});
  rows.AddTo(drift, 500, 0);
  InstallRecorded(drift);
  rows.AddTo(drift, kLeastWindowRows - 1, 0, 3);
  EXPECT_EQ(drift.Scores(0).rows, kLeastWindowRows - 1);
  EXPECT_EQ(drift.Scores(0).psi, -1);
  EXPECT_EQ(drift.Scores(0).ks, -1);
  rows.AddTo(drift, 1, 0, 3);
  EXPECT_GT(drift.Scores(0).psi, 1);
  EXPECT_GT(drift.Scores(0).ks, 0.5);
  EXPECT_EQ(drift.Scores(0).worst_feature, 1);
}

TEST(DistributionDriftTest, StaysLowWithoutDrift) {
  Rows rows(3);
  DistributionDrift drift(2, 0, {.reference_rows = 2000});
  rows.AddTo(drift, 2000, 0);
  InstallRecorded(drift);
  for (int i = 0; i < 20; ++i) {
    rows.AddTo(drift, 1000, i);
    EXPECT_LT(drift.Scores(i).psi, kPsiSomeChange) << i;
    EXPECT_LT(drift.Scores(i).ks, 0.1) << i;
  }
}

TEST(DistributionDriftTest, TheWindowSlidesByCount) {
  Rows rows(4);
  DistributionDrift drift(2, 0, {.reference_rows = 1000, .window_rows = 2000});
  rows.AddTo(drift, 1000, 0);
  InstallRecorded(drift);
  rows.AddTo(drift, 5000, 0, 2);
  EXPECT_GT(drift.Scores(0).psi, 1);
  EXPECT_GE(drift.Scores(0).rows, 1750);
  EXPECT_LE(drift.Scores(0).rows, 2000);
  rows.AddTo(drift, 2001, 0);
  EXPECT_LT(drift.Scores(0).psi, kPsiSomeChange);
}

TEST(DistributionDriftTest, TheWindowSlidesByTime) {
  Rows rows(5);
  DistributionDrift drift(
      2, 0, {.reference_rows = 500, .window_rows = 100'000, .window_ns = 80 * kSecond});
  rows.AddTo(drift, 500, 0);
  InstallRecorded(drift);
  for (int second = 0; second < 100; ++second) rows.AddTo(drift, 100, second * kSecond, 2);
  EXPECT_GT(drift.Scores(99 * kSecond).psi, 1);
  EXPECT_LE(drift.Scores(99 * kSecond).rows, 9000);
  for (int second = 100; second < 200; ++second) rows.AddTo(drift, 100, second * kSecond);
  EXPECT_LT(drift.Scores(199 * kSecond).psi, kPsiSomeChange);
  EXPECT_EQ(drift.Scores(400 * kSecond).rows, 0);
}

TEST(DistributionDriftTest, CountsWhatIsNoNumberOutOfRangeAndOutlying) {
  DistributionDrift drift(1, 0, {});
  std::vector<float> reference;
  for (int i = 0; i < 1000; ++i) reference.push_back(i % 2 == 0 ? -1 : 1);
  drift.Install(std::make_shared<RowsReference>(reference, 1, std::vector<int64_t>{}));
  for (const float value : {0.0F, 1.0F, 2.0F, 5.0F, std::nanf("")}) drift.Add(0, {&value, 1}, -1);
  const DriftScores scores = drift.Scores(0);
  EXPECT_DOUBLE_EQ(scores.not_a_number, 0.2);
  EXPECT_DOUBLE_EQ(scores.out_of_range, 0.4);  // 2 and 5
  EXPECT_DOUBLE_EQ(scores.outliers, 0.2);      // 5
  EXPECT_EQ(drift.totals().values, 5);
  EXPECT_EQ(drift.totals().not_a_number, 1);
  EXPECT_EQ(drift.totals().out_of_range, 2);
}

TEST(DistributionDriftTest, SeesCategoriesChange) {
  Rows rows(6);
  DistributionDrift drift(2, 3, {.reference_rows = 900, .window_rows = 1600});
  for (int64_t category = 0; category < 3; ++category) rows.AddTo(drift, 300, 0, 0, category);
  InstallRecorded(drift);
  for (int64_t category = 0; category < 3; ++category) rows.AddTo(drift, 400, 0, 0, category);
  EXPECT_LT(drift.Scores(0).category_psi, 0.01);
  rows.AddTo(drift, 1600, 0, 0, 2);
  rows.AddTo(drift, 1, 0, 0, 7);  // not one of them
  EXPECT_GT(drift.Scores(0).category_psi, 1);
}

TEST(SpreadEvenlyTest, TakesOneOfEachStretchAtChangingPlaces) {
  EXPECT_THAT(SpreadEvenly(3, 5), ElementsAre(0, 1, 2));
  EXPECT_THAT(SpreadEvenly(0, 5), ElementsAre());
  const std::vector<int64_t> places = SpreadEvenly(28 * 28, 64);
  ASSERT_EQ(places.size(), 64U);
  std::set<int64_t> columns;
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_GE(places[i], static_cast<int64_t>(i * 784 / 64));
    EXPECT_LE(places[i], static_cast<int64_t>((i + 1) * 784 / 64));
    columns.insert(places[i] % 28);
  }
  EXPECT_GT(columns.size(), 20U);
}

}  // namespace
}  // namespace bitmill
