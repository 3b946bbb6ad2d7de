#include "server/batch/cost_model.h"

#include <gtest/gtest.h>

#include <limits>

namespace bitmill {
namespace {

TEST(CostModelTest, KnowsNothingAtFirst) { EXPECT_EQ(CostModel().PredictNanos(8), 0); }

TEST(CostModelTest, FollowsWhatItSees) {
  CostModel model;
  model.Observe(1, 10'000);
  EXPECT_EQ(model.PredictNanos(1), 10'000);
  for (int i = 0; i < 100; ++i) model.Observe(1, 20'000);
  EXPECT_NEAR(static_cast<double>(model.PredictNanos(1)), 20'000, 50);
}

TEST(CostModelTest, KeepsSizesApart) {
  CostModel model;
  model.Observe(1, 10'000);
  model.Observe(64, 64'000);
  EXPECT_EQ(model.PredictNanos(1), 10'000);
  EXPECT_EQ(model.PredictNanos(64), 64'000);
}

TEST(CostModelTest, TakesAnUnknownSizeFromItsNeighbour) {
  CostModel model;
  model.Observe(8, 80'000);
  EXPECT_EQ(model.PredictNanos(16), 160'000);  // no more than the smaller one's price
  EXPECT_EQ(model.PredictNanos(2), 20'000);
}

// An execution of n rows takes 10 + n us.
constexpr int64_t kFixed = 10'000, kRow = 1'000;
int64_t Took(int64_t rows) { return kFixed + kRow * rows; }

TEST(CostModelTest, ATimeThatEveryExecutionTakesIsNotAPriceOfARow) {
  CostModel model;
  for (int i = 0; i < 64; ++i) {
    for (const int64_t rows : {int64_t{1}, int64_t{17}, int64_t{20}, int64_t{64}}) {
      model.Observe(rows, Took(rows));
    }
  }
  for (const int64_t rows : {1, 2, 5, 17, 20, 31, 40, 64}) {
    EXPECT_NEAR(static_cast<double>(model.PredictNanos(rows)), static_cast<double>(Took(rows)), 100)
        << rows;
  }
}

TEST(CostModelTest, GoesOnBeyondWhatItSawNeitherBelowZeroNorDearerThanTheAverageRow) {
  CostModel model;
  model.Observe(16, Took(16));
  model.Observe(40, Took(40));
  EXPECT_NEAR(static_cast<double>(model.PredictNanos(100)), static_cast<double>(Took(100)), 100);
  EXPECT_NEAR(static_cast<double>(model.PredictNanos(4)), static_cast<double>(Took(4)), 100);
  CostModel steep;  // 40 rows cost ten times what 16 do
  steep.Observe(16, 16'000);
  steep.Observe(40, 160'000);
  EXPECT_NEAR(static_cast<double>(steep.PredictNanos(80)), 320'000, 100);
  EXPECT_NEAR(static_cast<double>(steep.PredictNanos(8)), 8'000, 10);
  CostModel cheap;  // 40 rows cost less than 16
  cheap.Observe(16, 16'000);
  cheap.Observe(40, 8'000);
  EXPECT_EQ(cheap.PredictNanos(80), 8'000);
  EXPECT_EQ(cheap.PredictNanos(8), 16'000);
}

TEST(CostModelTest, KnowsHowMuchExecutionsHinderOneAnother) {
  CostModel model;
  model.Observe(1, Took(1));
  model.Observe(64, Took(64));
  for (int i = 0; i < 30; ++i) model.Observe(30, Took(30) * 13 / 10, 1);
  EXPECT_NEAR(static_cast<double>(model.PredictNanos(30, 1)), 1.3 * Took(30), 100);
  EXPECT_NEAR(static_cast<double>(model.PredictNanos(30)), Took(30), 100);
  EXPECT_NEAR(static_cast<double>(model.PredictNanos(64, 1)), 1.3 * Took(64), 200)
      << "a size that never ran beside another";
  EXPECT_EQ(model.PredictNanos(30, 3), model.PredictNanos(30, 1)) << "as far as is known";
  EXPECT_EQ(model.PredictNanos(30, 100), model.PredictNanos(30, 1));
}

TEST(CostModelTest, FollowsAMachineThatAlwaysRunsTwoAtATime) {
  CostModel model;
  for (int i = 0; i < 100; ++i) model.Observe(8, 100'000, 1);
  for (int i = 0; i < 100; ++i) model.Observe(8, 200'000, 1);
  EXPECT_NEAR(static_cast<double>(model.PredictNanos(8, 1)), 200'000, 200);
}

TEST(CostModelTest, ForgivesOnePreemptedRun) {
  CostModel model;
  for (int i = 0; i < 10; ++i) model.Observe(1, 10'000);
  model.Observe(1, 4'000'000);
  EXPECT_LT(model.PredictNanos(1), 15'000);
}

TEST(CostModelTest, IgnoresNonsense) {
  CostModel model;
  model.Observe(0, 100);
  model.Observe(-5, 100);
  model.Observe(4, 0);
  EXPECT_EQ(model.PredictNanos(4), 0);
  model.Observe(1, std::numeric_limits<int64_t>::max());
  EXPECT_GT(model.PredictNanos(std::numeric_limits<int64_t>::max()), 0);
  EXPECT_EQ(model.PredictNanos(-1), 0);
}

}  // namespace
}  // namespace bitmill
