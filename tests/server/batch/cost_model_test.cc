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
