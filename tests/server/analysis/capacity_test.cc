#include "server/analysis/capacity.h"

#include <gtest/gtest.h>

#include <cmath>

namespace bitmill {
namespace {

constexpr ServiceLine kLine{.a_ms = 1.0, .b_ms = 0.9, .samples = 100};

TEST(CapacityTest, AtSaturationEveryExecutionIsFull) {
  EXPECT_NEAR(SaturationRowsPerSecond(kLine, 32, 1), 32'000 / 29.8, 1e-9);
  EXPECT_NEAR(SaturationRowsPerSecond(kLine, 32, 2), 64'000 / 29.8, 1e-9);
  EXPECT_EQ(SaturationRowsPerSecond({}, 32, 1), 0);
}

TEST(CapacityTest, MoreInstancesThanCpusHelpOnlyWhatDoesNotComputeAllTheTime) {
  EXPECT_DOUBLE_EQ(ParallelExecutions({.instances = 4}, 2, 1), 2);
  EXPECT_DOUBLE_EQ(ParallelExecutions({.instances = 4}, 2, 0.6), 2 / 0.6);
  EXPECT_DOUBLE_EQ(ParallelExecutions({.instances = 1}, 2, 1), 1);
  // Held back to half a CPU, an execution takes twice as long: that is in the line already.
  EXPECT_DOUBLE_EQ(ParallelExecutions({.instances = 1}, 0.5, 0.5), 1);
}

TEST(LatencyCurveTest, OfBatchesOfOneIsThatOfAnMD1Queue) {
  // The wait W in services: P(W > t) is about (1 - rho) / (rho e^theta - 1) e^(-theta t), where
  // rho (e^theta - 1) = theta (Tijms, A First Course in Stochastic Models, section 9.2): theta is
  // 0.48 at 0.78, so that 1 % wait for more than 9.3, and are served for 1. At 2 % load, 1 % wait
  // for more than half a service.
  const LatencyCurve curve({.share_a = 1, .max_rows = 1, .instances = 1}, 200'000);
  EXPECT_NEAR(curve.P99(0.02), 1.5, 0.1);
  EXPECT_NEAR(curve.P99(0.78), 10.3, 0.8);
}

TEST(LatencyCurveTest, GrowsWithTheLoadAndEndsAtSaturation) {
  const LatencyCurve curve(ShapeOf(kLine, {.max_rows = 32}));
  double before = 0;
  for (double load = 0.05; load < 1; load += 0.01) {
    const double p99 = curve.P99(load);
    EXPECT_GE(p99, before);
    before = p99;
  }
  EXPECT_TRUE(std::isinf(curve.P99(1.0)));
}

TEST(LatencyCurveTest, TheLoadWithinIsTheInverse) {
  const LatencyCurve curve(ShapeOf(kLine, {.max_rows = 32}));
  for (const double load : {0.3, 0.55, 0.8, 0.93, 0.99}) {
    EXPECT_NEAR(curve.LoadWithin(curve.P99(load)), load, 1e-6);
  }
  EXPECT_EQ(curve.LoadWithin(0.01), 0);
  EXPECT_LT(curve.LoadWithin(1e6), 1);
}

TEST(LatencyCurveTest, InstancesShareAQueueAndWaitLess) {
  const LatencyCurve one(ShapeOf(kLine, {.max_rows = 32, .instances = 1}));
  const LatencyCurve four(ShapeOf(kLine, {.max_rows = 32, .instances = 4}));
  EXPECT_LT(four.P99(0.9), one.P99(0.9));
}

TEST(LatencyCurveTest, ADelayIsPartOfTheP99OfALowLoad) {
  const LatencyCurve curve(ShapeOf(kLine, {.max_rows = 32, .max_delay_ns = 20'000'000}));
  EXPECT_GT(curve.P99(0.1) * 29.8, 20);
}

TEST(LatencyCurveTest, StallsMakeTheTailLonger) {
  // 100 ms for one execution in a hundred of those of 30 ms: 3 % of the time, a longer p99.
  const Variation stalls{.stalls_per_ms = 0.01 / 30, .stall_ms = {90, 100, 110}};
  const LatencyCurve even(ShapeOf(kLine, {.max_rows = 32}));
  const LatencyCurve stalled(ShapeOf(kLine, {.max_rows = 32}, stalls));
  EXPECT_NEAR(stalls.stretch(), 1 + 1.0 / 30, 1e-9);
  EXPECT_GT(stalled.P99(0.6) * 29.8, even.P99(0.6) * 29.8 + 30);
}

TEST(QueueShapeTest, IsAlikeWhenEverythingIsSlowerByTheSame) {
  const QueueShape shape = ShapeOf(kLine, {.max_rows = 32});
  EXPECT_TRUE(shape.Like(ShapeOf({.a_ms = 2.0, .b_ms = 1.8, .samples = 1}, {.max_rows = 32})));
  EXPECT_FALSE(shape.Like(ShapeOf({.a_ms = 9.0, .b_ms = 0.9, .samples = 1}, {.max_rows = 32})));
  EXPECT_FALSE(shape.Like(ShapeOf(kLine, {.max_rows = 16})));
  EXPECT_FALSE(shape.Like(ShapeOf(kLine, {.max_rows = 32, .instances = 2})));
}

}  // namespace
}  // namespace bitmill
