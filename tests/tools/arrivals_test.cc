#include "tools/load/arrivals.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

std::vector<int64_t> Times(ArrivalSchedule schedule, int count) {
  std::vector<int64_t> times;
  for (int i = 0; i < count; ++i) times.push_back(schedule.NextNanos());
  return times;
}

TEST(ArrivalScheduleTest, ConstantArrivalsAreEvenlySpaced) {
  const std::vector<int64_t> expected = {1'000'000, 2'000'000, 3'000'000};
  EXPECT_EQ(Times(ArrivalSchedule(ArrivalKind::kConstant, 1000.0, 1), 3), expected);
}

TEST(ArrivalScheduleTest, ConstantArrivalsDoNotDrift) {
  // 3 a second is no whole number of nanoseconds.
  EXPECT_NEAR(
      static_cast<double>(Times(ArrivalSchedule(ArrivalKind::kConstant, 3.0, 1), 30'000).back()),
      1e13, 1e4);
}

TEST(ArrivalScheduleTest, TheSeedDecidesThePoissonSchedule) {
  const auto once = Times(ArrivalSchedule(ArrivalKind::kPoisson, 500.0, 42), 100);
  EXPECT_EQ(Times(ArrivalSchedule(ArrivalKind::kPoisson, 500.0, 42), 100), once);
  EXPECT_NE(Times(ArrivalSchedule(ArrivalKind::kPoisson, 500.0, 43), 100), once);
}

TEST(ArrivalScheduleTest, PoissonGapsHaveTheMeanAndSpreadOfAnExponential) {
  constexpr int kCount = 200'000;
  const auto times = Times(ArrivalSchedule(ArrivalKind::kPoisson, 1000.0, 7), kCount);
  double sum = 0.0;
  double squares = 0.0;
  int64_t last = 0;
  for (const int64_t time : times) {
    const double gap = static_cast<double>(time - last);
    ASSERT_GE(gap, 0.0);
    sum += gap;
    squares += gap * gap;
    last = time;
  }
  const double mean = sum / kCount;
  const double deviation = std::sqrt(squares / kCount - mean * mean);
  EXPECT_NEAR(mean, 1e6, 1e4);       // 1 ms; the standard error is 0.22 %
  EXPECT_NEAR(deviation, 1e6, 2e4);  // of an exponential: the mean
}

}  // namespace
}  // namespace bitmill
