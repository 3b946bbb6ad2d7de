#include "server/analysis/service_line_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/simulation/random_numbers.h"

namespace bitmill {
namespace {

// Executions of 1 to 32 rows on a line, with 3 % noise.
std::vector<ExecutionSample> OnLine(double a, double b, int count, RandomNumbers& random) {
  std::vector<ExecutionSample> samples;
  for (int i = 0; i < count; ++i) {
    const double rows = std::floor(random.Uniform(1, 33));
    samples.push_back({.rows = rows, .ms = (a + b * rows) * std::exp(0.03 * random.Normal())});
  }
  return samples;
}

std::vector<ExecutionSample> OfRows(double rows, double ms, int count) {
  return std::vector<ExecutionSample>(static_cast<size_t>(count), {.rows = rows, .ms = ms});
}

TEST(ServiceLineFitTest, FindsTheLineOfNoisyExecutions) {
  RandomNumbers random(1);
  ServiceLineFit fit;
  for (int tick = 0; tick < 10; ++tick) fit.Update(OnLine(1.0, 0.9, 100, random), 1, 1);
  EXPECT_NEAR(fit.line().a_ms, 1.0, 0.1);
  EXPECT_NEAR(fit.line().b_ms, 0.9, 0.02);
  EXPECT_TRUE(fit.line().split_known);
  EXPECT_NEAR(fit.line().relative_error, 0.03, 0.01);
  EXPECT_EQ(fit.line().samples, 1000);
}

TEST(ServiceLineFitTest, KnowsNothingBeforeTheFirstExecution) {
  ServiceLineFit fit;
  fit.Update({}, 1, 1);
  EXPECT_EQ(fit.line().samples, 0);
  EXPECT_EQ(fit.variation().ratios, std::vector<double>{1.0});
}

TEST(ServiceLineFitTest, BatchesOfOneSizeFixTheSumButNotTheSplit) {
  ServiceLineFit fit({.prior_rows = 4});
  for (int tick = 0; tick < 20; ++tick) fit.Update(OfRows(8, 6.0, 50), 1, 1);
  EXPECT_NEAR(fit.line().a_ms + 8 * fit.line().b_ms, 6.0, 1e-6);
  EXPECT_NEAR(fit.line().a_ms / fit.line().b_ms, 4.0, 1e-6);
  EXPECT_FALSE(fit.line().split_known);
}

TEST(ServiceLineFitTest, BatchesOfOneSizeKeepTheProportionThatWasKnown) {
  RandomNumbers random(2);
  ServiceLineFit fit;
  for (int tick = 0; tick < 30; ++tick) fit.Update(OnLine(4.0, 0.5, 100, random), 1, 1);
  for (int tick = 0; tick < 400; ++tick) fit.Update(OfRows(1, 4.5, 50), 1, 1);
  EXPECT_FALSE(fit.line().split_known);
  EXPECT_NEAR(fit.line().a_ms, 4.0, 0.2);
  EXPECT_NEAR(fit.line().a_ms + 32 * fit.line().b_ms, 20.0, 2.0);
}

TEST(ServiceLineFitTest, LearnsTheSplitWhenBatchesOfAnotherSizeCome) {
  ServiceLineFit fit;  // assumes a = b
  for (int tick = 0; tick < 20; ++tick) fit.Update(OfRows(1, 10.1, 50), 1, 1);
  for (int tick = 0; tick < 5; ++tick) fit.Update(OfRows(32, 13.2, 20), 1, 1);
  EXPECT_NEAR(fit.line().a_ms, 10.0, 0.5);
  EXPECT_NEAR(fit.line().b_ms, 0.1, 0.02);
  EXPECT_TRUE(fit.line().split_known);
}

TEST(ServiceLineFitTest, PreemptedExecutionsDoNotBendTheLineButCountInItsMean) {
  RandomNumbers random(3);
  ServiceLineFit fit;
  for (int tick = 0; tick < 20; ++tick) {
    std::vector<ExecutionSample> samples = OnLine(1.0, 0.9, 100, random);
    for (double rows = 1; rows < 30; rows += 6) {
      samples.push_back({.rows = rows, .ms = 1.0 + 0.9 * rows + 30});
    }
    fit.Update(samples, 1, 1);
  }
  EXPECT_NEAR(fit.typical().a_ms, 1.0, 0.15);
  EXPECT_NEAR(fit.typical().b_ms, 0.9, 0.02);
  // 100 executions of 15.85 ms on average, and 5 that take 63.5 ms together and are held back for
  // 150 ms, take as much as 105 that are 9 % longer.
  EXPECT_NEAR(fit.stretch(), (1585 + 63.5 + 150) / (1585 + 63.5), 0.02);
  EXPECT_NEAR(fit.line().b_ms, 0.9 * fit.stretch(), 0.02);
}

TEST(ServiceLineFitTest, AThrottleIsFollowedInTheNextTick) {
  RandomNumbers random(4);
  ServiceLineFit fit;
  for (int tick = 0; tick < 60; ++tick) fit.Update(OnLine(1.0, 0.9, 100, random), 1, 1);
  fit.Update(OnLine(2.0, 1.8, 100, random), 1, 1);
  EXPECT_NEAR(fit.line().a_ms + 32 * fit.line().b_ms, 59.6, 3.0);
}

TEST(ServiceLineFitTest, AQuotaThatStretchesFewExecutionsIsFollowedInItsMean) {
  RandomNumbers random(5);
  ServiceLineFit fit;
  for (int tick = 0; tick < 60; ++tick) fit.Update(OfRows(8, 5.0, 100), 1, 1);
  for (int tick = 0; tick < 4; ++tick) {  // one of ten waits for 50 ms
    std::vector<ExecutionSample> samples = OfRows(8, 5.0, 90);
    for (int i = 0; i < 10; ++i) samples.push_back({.rows = 8, .ms = 55});
    fit.Update(samples, 1, 1);
  }
  EXPECT_NEAR(fit.line().a_ms + 8 * fit.line().b_ms, 10.0, 1.2);
  EXPECT_NEAR(fit.typical().a_ms + 8 * fit.typical().b_ms, 5.0, 0.3);
}

TEST(ServiceLineFitTest, NeitherPartIsEverNegative) {
  ServiceLineFit fit;
  for (int tick = 0; tick < 20; ++tick) {
    std::vector<ExecutionSample> samples;
    for (double rows = 1; rows <= 16; ++rows) samples.push_back({.rows = rows, .ms = rows * rows});
    fit.Update(samples, 1, 1);
  }
  EXPECT_EQ(fit.typical().a_ms, 0);
  EXPECT_GT(fit.typical().b_ms, 0);
}

TEST(ServiceLineFitTest, WhatIsKnownDoesNotFadeWhileIdle) {
  RandomNumbers random(6);
  ServiceLineFit fit;
  for (int tick = 0; tick < 10; ++tick) fit.Update(OnLine(1.0, 0.9, 100, random), 1, 1);
  const ServiceLine before = fit.line();
  for (int tick = 0; tick < 1000; ++tick) fit.Update({}, 1, 1);
  fit.Update(OfRows(1, before.a_ms + before.b_ms, 1), 1, 1);
  EXPECT_NEAR(fit.line().b_ms, before.b_ms, 0.01);
}

TEST(ServiceLineFitTest, StallsAreToldFromNoise) {
  RandomNumbers random(7);
  ServiceLineFit fit;
  for (int tick = 0; tick < 20; ++tick) {
    std::vector<ExecutionSample> samples = OnLine(1.0, 0.9, 90, random);
    for (int i = 0; i < 10; ++i) samples.push_back({.rows = 8, .ms = 8.2 + 30});
    fit.Update(samples, 1, 1);
  }
  const Variation variation = fit.variation();
  EXPECT_NEAR(variation.mean_stall_ms(), 30, 0.5);
  // 10 in 90 executions of 15.85 ms and 10 of 8.2 ms.
  EXPECT_NEAR(variation.stalls_per_ms, 10 / (90 * 15.85 + 82), 0.0003);
  EXPECT_NEAR(variation.stretch(), fit.stretch(), 0.02);
  double sum = 0;
  for (const double ratio : variation.ratios) sum += ratio;
  EXPECT_NEAR(sum, 16, 1e-9);
  EXPECT_GT(variation.ratios.front(), 0.9);
  EXPECT_LT(variation.ratios.back(), 1.1);
}

}  // namespace
}  // namespace bitmill
