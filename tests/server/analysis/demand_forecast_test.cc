#include "server/analysis/demand_forecast.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/simulation/random_numbers.h"

namespace bitmill {
namespace {

// A second of Poisson arrivals, closely enough for rates of hundreds.
double Arrivals(double rate, RandomNumbers& random) {
  return std::max(std::round(rate + std::sqrt(rate) * random.Normal()), 0.0);
}

TEST(DemandForecastTest, SteadyDemandStaysWhereItIs) {
  RandomNumbers random(1);
  DemandForecast forecast;
  for (int i = 0; i < 200; ++i) forecast.Update(Arrivals(500, random), 1, 1, false);
  EXPECT_NEAR(forecast.level(), 500, 30);
  EXPECT_NEAR(forecast.Ahead(30), 500, 75);
  EXPECT_NEAR(forecast.trend(), 0, 1.5);
}

// A model that becomes ready just before a tick has one of a few microseconds first.
TEST(DemandForecastTest, ATickThatIsTooShortForARateSaysNothing) {
  DemandForecast forecast;
  forecast.Update(0, 2e-6, 1, false);
  for (int i = 0; i < 3; ++i) forecast.Update(0, 1, 1, false);
  EXPECT_LT(forecast.Sigma(30), 20);
}

TEST(DemandForecastTest, ARampIsExtendedWithoutDamping) {
  RandomNumbers random(2);
  DemandForecast forecast;
  for (int i = 0; i < 60; ++i) forecast.Update(Arrivals(400, random), 1, 1, false);
  double rate = 400;
  for (int i = 0; i < 60; ++i) forecast.Update(Arrivals(rate += 6, random), 1, 1, false);
  EXPECT_NEAR(forecast.level(), 760, 40);
  EXPECT_FALSE(forecast.damped());
  EXPECT_NEAR(forecast.Ahead(30), 760 + 180, 80);
  EXPECT_NEAR(forecast.SecondsUntil(1000, 0), 40, 20);
}

TEST(DemandForecastTest, ASlowSwingIsDamped) {
  RandomNumbers random(3);
  DemandForecast forecast;
  int damped = 0;
  for (int i = 0; i < 400; ++i) {
    forecast.Update(Arrivals(700 + 60 * std::sin(i * 6.283 / 60), random), 1, 1, false);
    if (i >= 100) damped += forecast.damped();
  }
  EXPECT_GT(damped, 200);
}

TEST(DemandForecastTest, AStepIsSeenInItsSecondSecond) {
  RandomNumbers random(4);
  DemandForecast forecast;
  for (int i = 0; i < 60; ++i) forecast.Update(Arrivals(400, random), 1, 1, false);
  forecast.Update(900, 1, 1, false);
  EXPECT_LT(forecast.level(), 550);
  forecast.Update(910, 1, 1, false);
  EXPECT_TRUE(forecast.stepped());
  EXPECT_NEAR(forecast.level(), 910, 1);
  EXPECT_NEAR(forecast.Ahead(30), 910, 1);  // a step is no trend
}

TEST(DemandForecastTest, AStepWithOtherEvidenceIsSeenAtOnce) {
  RandomNumbers random(5);
  DemandForecast forecast;
  for (int i = 0; i < 60; ++i) forecast.Update(Arrivals(400, random), 1, 1, false);
  forecast.Update(900, 1, 1, true);
  EXPECT_TRUE(forecast.stepped());
  EXPECT_NEAR(forecast.level(), 900, 1);
}

TEST(DemandForecastTest, ABurstOfASecondMovesLittle) {
  RandomNumbers random(6);
  DemandForecast forecast;
  for (int i = 0; i < 60; ++i) forecast.Update(Arrivals(600, random), 1, 1, false);
  const double before = forecast.Ahead(30);
  forecast.Update(1500, 1, 1, false);
  EXPECT_LT(forecast.Ahead(30) - before, 120);
  EXPECT_FALSE(forecast.stepped());
}

TEST(DemandForecastTest, AStepThatWasABurstOverTwoTicksIsTakenBack) {
  RandomNumbers random(7);
  DemandForecast forecast;
  for (int i = 0; i < 60; ++i) forecast.Update(Arrivals(600, random), 1, 1, false);
  const double before = forecast.level();
  forecast.Update(850, 1, 1, false);
  forecast.Update(850, 1, 1, false);
  ASSERT_TRUE(forecast.stepped());
  forecast.Update(600, 1, 1, false);
  EXPECT_LT(std::abs(forecast.level() - before), 60);
}

TEST(DemandForecastTest, TheIntervalHoldsNineInTen) {
  RandomNumbers random(8);
  DemandForecast forecast;
  int inside = 0, all = 0;
  for (int i = 0; i < 2000; ++i) {
    forecast.Update(Arrivals(500, random), 1, 1, false);
    if (i < 50) continue;
    const double later = Arrivals(500, random);
    inside += std::abs(later - forecast.Ahead(10)) < 1.645 * forecast.Sigma(10);
    ++all;
  }
  EXPECT_GT(inside, 0.88 * all);
}

TEST(DemandForecastTest, TheIntervalGrowsWithTheHorizonAndBoundsTheTime) {
  RandomNumbers random(9);
  DemandForecast forecast;
  double rate = 400;
  for (int i = 0; i < 100; ++i) forecast.Update(Arrivals(rate += 4, random), 1, 1, false);
  EXPECT_GT(forecast.Sigma(30), forecast.Sigma(5));
  const double low = forecast.SecondsUntil(1000, 1.645), middle = forecast.SecondsUntil(1000, 0);
  EXPECT_GE(low, 0);
  EXPECT_LT(low, middle);
  EXPECT_EQ(forecast.SecondsUntil(rate / 2, 0), 0);
}

TEST(DemandForecastTest, AFallingDemandNeverReachesMoreNorGoesBelowNothing) {
  RandomNumbers random(10);
  DemandForecast forecast;
  for (double rate = 600; rate > 60; rate -= 10) {
    forecast.Update(Arrivals(rate, random), 1, 1, false);
  }
  EXPECT_EQ(forecast.SecondsUntil(1000, 0), -1);
  EXPECT_GE(forecast.Ahead(3600), 0);
}

// Of the forecasts of a load made after 20 s, the share whose 90 % interval held what came.
template <typename Rate>
double Coverage(Rate rate, int seconds, DemandForecast& forecast, RandomNumbers& random) {
  struct Interval {
    double low = 0, high = 0;
  };
  std::vector<Interval> intervals;
  int held = 0, told = 0;
  for (int i = 0; i < seconds; ++i) {
    const double came = Arrivals(rate(i), random);
    if (i >= 50) {
      const Interval& then = intervals[static_cast<size_t>(i - 30)];
      held += came >= then.low && came <= then.high;
      ++told;
    }
    forecast.Update(came, 1, 1, false);
    const double margin = forecast.spread() * forecast.Sigma(30);
    intervals.push_back({forecast.Ahead(30) - margin, forecast.Ahead(30) + margin});
  }
  return static_cast<double>(held) / told;
}

TEST(DemandForecastTest, TheIntervalHoldsNineInTenWhileSlopesComeAndGo) {
  RandomNumbers random(11);
  DemandForecast forecast;
  // Up and down between 300 and 800, 100 s each way and 60 s of rest on either end.
  const auto rate = [](int second) {
    const int at = second % 320;
    if (at < 60) return 300.0;
    if (at < 160) return 300.0 + 5.0 * (at - 60);
    if (at < 220) return 800.0;
    return 800.0 - 5.0 * (at - 220);
  };
  const double coverage = Coverage(rate, 3000, forecast, random);
  EXPECT_GE(coverage, 0.87);
  EXPECT_LE(coverage, 0.95);
}

TEST(DemandForecastTest, TheIntervalNarrowsWhileNothingHappens) {
  RandomNumbers random(12);
  DemandForecast forecast;
  const double coverage = Coverage([](int) { return 500.0; }, 1500, forecast, random);
  EXPECT_GE(coverage, 0.88);
  EXPECT_LT(forecast.spread(), 2);
  // A slope that nobody could foresee widens it.
  Coverage([](int second) { return 500.0 + 6.0 * second; }, 60, forecast, random);
  EXPECT_GT(forecast.spread(), 2);
}

}  // namespace
}  // namespace bitmill
