#include "server/analysis/cusum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/simulation/random_numbers.h"

namespace bitmill {
namespace {

constexpr ServiceLine kBefore{.a_ms = 2.0, .b_ms = 0.5, .samples = 1000};

std::vector<ExecutionSample> OnLine(double a, double b, RandomNumbers& random) {
  std::vector<ExecutionSample> samples;
  for (int i = 0; i < 60; ++i) {
    const double rows = std::floor(random.Uniform(1, 17));
    samples.push_back({.rows = rows, .ms = (a + b * rows) * std::exp(0.03 * random.Normal())});
  }
  return samples;
}

// Ticks of a, b after a reference of kBefore; until one has drifted, or -1 after `most`.
int TicksUntilDrift(LineDrift& drift, double a, double b, int most, uint64_t seed) {
  RandomNumbers random(seed);
  for (int i = 0; i < 15; ++i) drift.Update(OnLine(2.0, 0.5, random), kBefore);
  for (int i = 1; i <= most; ++i) {
    drift.Update(OnLine(a, b, random), kBefore);
    if (drift.a_drifted() || drift.b_drifted()) return i;
  }
  return -1;
}

TEST(CusumTest, SumsWhatIsBeyondTheSlackOnBothSides) {
  Cusum cusum({.slack = 0.5, .threshold = 5});
  EXPECT_FALSE(cusum.Update(2));
  EXPECT_DOUBLE_EQ(cusum.high(), 1.5);
  EXPECT_DOUBLE_EQ(cusum.low(), 0);
  EXPECT_FALSE(cusum.Update(-1));
  EXPECT_DOUBLE_EQ(cusum.high(), 0);
  EXPECT_DOUBLE_EQ(cusum.low(), 0.5);
  EXPECT_FALSE(cusum.Update(-100));  // counts as 4: one outlier is no drift
  EXPECT_DOUBLE_EQ(cusum.low(), 4);
  EXPECT_TRUE(cusum.Update(-2));
}

TEST(CusumTest, FalseAlarmsOnNoiseAreAsRareAsPublished) {
  RandomNumbers random(1);
  int alarms = 0;
  Cusum cusum;
  constexpr int kTicks = 200'000;
  for (int i = 0; i < kTicks; ++i) {
    if (!cusum.Update(random.Normal())) continue;
    ++alarms;
    cusum.Reset();
  }
  // Montgomery, Introduction to Statistical Quality Control, table 9.3.
  EXPECT_NEAR(static_cast<double>(kTicks) / alarms, 465, 50);
}

TEST(LineDriftTest, NoiseIsNoDrift) {
  LineDrift drift;
  EXPECT_EQ(TicksUntilDrift(drift, 2.0, 0.5, 3000, 2), -1);
}

TEST(LineDriftTest, ASlowerRowIsADriftOfBAlone) {
  LineDrift drift;
  const int ticks = TicksUntilDrift(drift, 2.0, 0.75, 20, 3);
  EXPECT_GE(ticks, 1);
  EXPECT_LE(ticks, 6);
  EXPECT_TRUE(drift.b_drifted());
  EXPECT_FALSE(drift.a_drifted());
}

TEST(LineDriftTest, AFixedDelayIsADriftOfAAlone) {
  LineDrift drift;
  const int ticks = TicksUntilDrift(drift, 4.5, 0.5, 20, 4);
  EXPECT_GE(ticks, 1);
  EXPECT_LE(ticks, 6);
  EXPECT_TRUE(drift.a_drifted());
  EXPECT_FALSE(drift.b_drifted());
}

TEST(LineDriftTest, BatchesOfOneSizeMoveBoth) {
  LineDrift drift;
  const std::vector<ExecutionSample> before(20, {.rows = 4, .ms = 4.0}),
      after(20, {.rows = 4, .ms = 6.0});
  for (int i = 0; i < 15; ++i) drift.Update(before, kBefore);
  for (int i = 0; i < 5; ++i) drift.Update(after, kBefore);
  EXPECT_TRUE(drift.a_drifted());
  EXPECT_TRUE(drift.b_drifted());
}

TEST(LineDriftTest, ADriftIsToldForAWhileAndThenIsWhatIsUsual) {
  LineDrift drift;
  ASSERT_GE(TicksUntilDrift(drift, 4.0, 1.0, 20, 5), 1);
  RandomNumbers random(6);
  const ServiceLine after{.a_ms = 4.0, .b_ms = 1.0, .samples = 2000};
  int told = 1;
  for (int i = 0; i < 100; ++i) {
    drift.Update(OnLine(4.0, 1.0, random), after);
    told += drift.a_drifted() || drift.b_drifted();
  }
  EXPECT_GE(told, 25);
  EXPECT_LE(told, 31);
  EXPECT_DOUBLE_EQ(drift.reference().b_ms, 1.0);
}

}  // namespace
}  // namespace bitmill
