#include "server/analysis/power_policy.h"

#include <algorithm>
#include <array>
#include <functional>
#include <random>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kSecond = 1'000'000'000;
constexpr MonotonicNanos kWindow = 5 * kSecond;

// What a model would draw, need and take at a level.
struct Plant {
  std::array<double, kPowerLevels + 1> watts{};
  double rows_per_s = 1000;
  std::function<double(int level)> p99_ms = [](int) { return 1.0; };
  double objective_ms = 0;
};

struct Drive {
  explicit Drive(const PowerWish& wish) : climber(wish) {}

  // A tick a second; the mean over the window lags behind a change as in a real one.
  void For(int seconds, const Plant& plant, double noise = 0) {
    for (int i = 0; i < seconds; ++i) {
      now += kSecond;
      std::normal_distribution<double> by(1, noise);
      const double factor = noise > 0 ? by(random) : 1;
      const double watts = plant.watts[static_cast<size_t>(climber.level())] * factor;
      const auto step = climber.Tick({.now_ns = now,
                                      .window_begin_ns = now - kWindow,
                                      .watts = watts,
                                      .joules_per_row = watts / plant.rows_per_s,
                                      .rows_per_s = plant.rows_per_s,
                                      .p99_ms = plant.p99_ms(climber.level()),
                                      .objective_ms = plant.objective_ms});
      if (step) {
        ++changes;
        EXPECT_EQ(step->level, climber.level());
        EXPECT_FALSE(step->reason.empty());
        last_change = now;
      }
    }
  }

  PowerClimber climber;
  MonotonicNanos now = 100 * kSecond, last_change = 0;
  int changes = 0;
  std::mt19937 random{7};
};

TEST(SavingControlsTest, GoFromAsConfiguredToAFifthOfTheWorkers) {
  const ModelControls configured{.max_rows = 32, .max_delay_ns = 100, .instances = 10};
  EXPECT_EQ(SavingControls(configured, 0, 4'000).instances, 10);
  EXPECT_EQ(SavingControls(configured, 0, 4'000).max_delay_ns, 100);
  EXPECT_EQ(SavingControls(configured, 2, 4'000).instances, 6);
  EXPECT_EQ(SavingControls(configured, 2, 4'000).max_delay_ns, 2'100);
  EXPECT_EQ(SavingControls(configured, 4, 4'000).instances, 2);
  EXPECT_EQ(SavingControls(configured, 4, 4'000).max_delay_ns, 4'100);
  EXPECT_EQ(SavingControls(configured, 4, 4'000).max_rows, 32);
}

TEST(SavingControlsTest, LeaveOneWorkerAndNoDelayWithoutBatches) {
  const ModelControls configured{.max_rows = 1, .max_delay_ns = 0, .instances = 1};
  EXPECT_EQ(SavingControls(configured, 4, 4'000).instances, 1);
  EXPECT_EQ(SavingControls(configured, 4, 4'000).max_delay_ns, 0);
}

TEST(DelayBudgetTest, IsHalfOfWhatTheObjectiveLeaves) {
  EXPECT_EQ(DelayBudget(10, 4), 3'000'000);
  EXPECT_EQ(DelayBudget(10, 40), 0);
  EXPECT_EQ(DelayBudget(0, 40), 5'000'000);
}

TEST(PowerLimitTest, ClimbsUntilThePowerIsBelowAndStaysThere) {
  Drive run({.max_watts = 65});
  run.For(120, {.watts = {100, 85, 70, 60, 50}});
  EXPECT_EQ(run.climber.level(), 3);
  EXPECT_EQ(run.changes, 3);
  EXPECT_FALSE(run.climber.at_wits_end());
  EXPECT_LE(run.last_change, 125 * kSecond);  // five seconds of window and two ticks a step
}

TEST(PowerLimitTest, NoiseDoesNotMoveIt) {
  Drive run({.max_watts = 65});
  run.For(1800, {.watts = {100, 85, 70, 58, 50}}, 0.03);
  EXPECT_EQ(run.climber.level(), 3);
  EXPECT_EQ(run.changes, 3);
}

TEST(PowerLimitTest, ComesBackWhenTheLoadIsGone) {
  Drive run({.max_watts = 65});
  run.For(60, {.watts = {100, 85, 70, 60, 50}});
  run.For(120, {.watts = {40, 35, 30, 28, 25}});
  EXPECT_EQ(run.climber.level(), 0);
}

TEST(PowerLimitTest, AStepDownThatFailsIsTriedMoreAndMoreSeldom) {
  // One level is too much, the next far too little: without hysteresis it would go to and fro.
  Drive run({.max_watts = 65});
  run.For(3600, {.watts = {100, 40, 40, 40, 40}});
  EXPECT_LE(run.changes, 2 + 2 * 10);
  Drive first({.max_watts = 65});
  first.For(600, {.watts = {100, 40, 40, 40, 40}});
  run.changes = 0;
  run.For(600, {.watts = {100, 40, 40, 40, 40}});
  EXPECT_LT(run.changes, first.changes);
}

TEST(PowerLimitTest, OneReadingAboveItIsNoReason) {
  Drive run({.max_watts = 65});
  run.For(10, {.watts = {60, 50, 40, 30, 20}});
  run.For(1, {.watts = {80, 50, 40, 30, 20}});
  run.For(60, {.watts = {60, 50, 40, 30, 20}});
  EXPECT_EQ(run.changes, 0);
}

TEST(PowerLimitTest, SaysWhenItCannotBeHeld) {
  Drive run({.max_watts = 20});
  run.For(120, {.watts = {100, 85, 70, 60, 50}});
  EXPECT_EQ(run.climber.level(), kPowerLevels);
  EXPECT_TRUE(run.climber.at_wits_end());
  run.For(3, {.watts = {10, 10, 10, 10, 10}});
  EXPECT_FALSE(run.climber.at_wits_end());
}

TEST(PowerLimitTest, WithoutReadingsNothingIsDone) {
  PowerClimber climber({.max_watts = 1, .efficiency = true});
  for (int i = 1; i < 100; ++i) {
    EXPECT_FALSE(climber.Tick({.now_ns = i * kSecond, .window_begin_ns = (i - 5) * kSecond}));
  }
  EXPECT_EQ(climber.joules_per_row_now(), -1);
}

TEST(PowerEfficiencyTest, ClimbsAsLongAsAStepSavesEnergy) {
  Drive run({.efficiency = true});
  run.For(300, {.watts = {100, 80, 70, 69.5, 90}});
  // Level 3 saves less than 2 %: it goes back to 2, and tries again only after a minute and longer.
  EXPECT_EQ(run.climber.level(), 2);
  EXPECT_LE(run.changes, 2 + 2 * 3);
  EXPECT_DOUBLE_EQ(run.climber.joules_per_row_before(), 0.1);
  EXPECT_DOUBLE_EQ(run.climber.joules_per_row_now(), 0.07);
}

TEST(PowerEfficiencyTest, TheObjectiveComesFirst) {
  Drive run({.efficiency = true});
  const Plant plant{.watts = {100, 80, 60, 40, 20},
                    .p99_ms = [](int level) { return 3.0 + 2.0 * level; },
                    .objective_ms = 8};
  run.For(300, plant);
  // 7 ms at level 2 are within 0.9 of 8 ms, 9 ms at level 3 are not.
  EXPECT_EQ(run.climber.level(), 2);
}

TEST(PowerEfficiencyTest, DoesNotBeginWhereTheObjectiveIsMissedAlready) {
  Drive run({.efficiency = true});
  run.For(100,
          {.watts = {100, 80, 60, 40, 20}, .p99_ms = [](int) { return 9.0; }, .objective_ms = 8});
  EXPECT_EQ(run.changes, 0);
}

TEST(PowerEfficiencyTest, OtherLoadsAreNoVerdictOnAStep) {
  Drive run({.efficiency = true});
  run.For(6, {.watts = {100, 90, 80, 70, 60}});
  ASSERT_EQ(run.climber.level(), 1);
  // Half the rows at nearly the same power: more joules a row, which is not the step's fault.
  run.For(8, {.watts = {100, 90, 90, 90, 90}, .rows_per_s = 500});
  EXPECT_GE(run.climber.level(), 1);
}

}  // namespace
}  // namespace bitmill
