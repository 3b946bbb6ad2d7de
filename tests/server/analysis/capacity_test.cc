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
  const double one = SaturationRowsPerSecond(kLine, 32, 1);
  ServingCost cost{.line = kLine, .max_rows = 32, .instances = 4, .cpu_budget_cores = 2};
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, 2 * one, 1e-6);
  EXPECT_EQ(SaturationOf(cost).limit, CapacityLimit::kCpus);
  cost.cpu_share = 0.6;
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, 2 / 0.6 * one, 1e-6);
  cost.instances = 1;
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, one, 1e-6);
  EXPECT_EQ(SaturationOf(cost).limit, CapacityLimit::kInstances);
  // Held back to half a CPU, an execution takes twice as long: that is in the line already.
  cost.cpu_share = cost.cpu_budget_cores = 0.5;
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, one, 1e-6);
}

TEST(CapacityTest, AModelOfMicrosecondsIsLimitedByReceiving) {
  ServingCost cost{.line = {.a_ms = 0.003, .b_ms = 0.001, .samples = 100},
                   .max_rows = 32,
                   .instances = 2,
                   .cpu_budget_cores = 2,
                   .receive_ms = 0.025,
                   .inline_share = 1};
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, 40'000, 1e-6);
  EXPECT_EQ(SaturationOf(cost).limit, CapacityLimit::kIoThreads);
  cost.io_threads = 2;
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, 80'000, 1e-6);
  cost.rows_per_request = 4;
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, 320'000, 1e-6);
}

TEST(CapacityTest, ReceivingTakesItsPartOfTheCpus) {
  // 50 us of a worker and 25 us of an I/O thread for each row, on two CPUs.
  const ServingCost cost{.line = {.a_ms = 0, .b_ms = 0.05, .samples = 100},
                         .max_rows = 32,
                         .instances = 2,
                         .cpu_budget_cores = 2,
                         .receive_ms = 0.025};
  EXPECT_NEAR(SaturationOf(cost).rows_per_s, 2000 / 0.075, 1e-6);
  EXPECT_EQ(SaturationOf(cost).limit, CapacityLimit::kCpus);
}

TEST(LatencyCurveTest, OfBatchesOfOneIsThatOfAnMD1Queue) {
  // The wait W in services: P(W > t) is about (1 - rho) / (rho e^theta - 1) e^(-theta t), where
  // rho (e^theta - 1) = theta (Tijms, A First Course in Stochastic Models, section 9.2): theta is
  // 0.48 at 0.78, so that 1 % wait for more than 9.3, and are served for 1. At 2 % load, 1 % wait
  // for more than half a service.
  LatencyCurve curve({.share_a = 1, .max_rows = 1, .instances = 1}, 200'000);
  EXPECT_NEAR(curve.P99(0.02), 1.5, 0.1);
  EXPECT_NEAR(curve.P99(0.78), 10.3, 0.8);
}

TEST(LatencyCurveTest, GrowsWithTheLoadAndEndsAtSaturation) {
  LatencyCurve curve(ShapeOf(kLine, {.max_rows = 32}));
  double before = 0;
  for (double load = 0.05; load < 1; load += 0.01) {
    const double p99 = curve.P99(load);
    EXPECT_GE(p99, before);
    before = p99;
  }
  EXPECT_TRUE(std::isinf(curve.P99(1.0)));
}

TEST(LatencyCurveTest, TheLoadWithinIsTheInverse) {
  LatencyCurve curve(ShapeOf(kLine, {.max_rows = 32}));
  for (const double load : {0.3, 0.55, 0.8, 0.93, 0.99}) {
    EXPECT_NEAR(curve.LoadWithin(curve.P99(load)), load, 1e-6);
  }
  EXPECT_EQ(curve.LoadWithin(0.01), 0);
  EXPECT_LT(curve.LoadWithin(1e6), 1);
}

TEST(LatencyCurveTest, ReplaysOnlyAsFarAsItIsAsked) {
  LatencyCurve few(ShapeOf(kLine, {.max_rows = 32}));
  EXPECT_EQ(few.replayed(), 0);
  const double low = few.P99(0.1);
  const int64_t replayed = few.replayed();
  few.P99(0.05);
  EXPECT_EQ(few.replayed(), replayed);
  LatencyCurve all(ShapeOf(kLine, {.max_rows = 32}));
  all.P99(0.97);
  EXPECT_GT(all.replayed(), 10 * replayed);
  EXPECT_EQ(all.P99(0.1), low);
}

TEST(LatencyCurveTest, InstancesShareAQueueAndWaitLess) {
  LatencyCurve one(ShapeOf(kLine, {.max_rows = 32, .instances = 1}));
  LatencyCurve four(ShapeOf(kLine, {.max_rows = 32, .instances = 4}));
  EXPECT_LT(four.P99(0.9), one.P99(0.9));
}

TEST(LatencyCurveTest, ADelayIsPartOfTheP99OfALowLoad) {
  LatencyCurve curve(ShapeOf(kLine, {.max_rows = 32, .max_delay_ns = 20'000'000}));
  EXPECT_GT(curve.P99(0.1) * 29.8, 20);
}

TEST(LatencyCurveTest, StallsMakeTheTailLonger) {
  // 100 ms for one execution in a hundred of those of 30 ms: 3 % of the time, a longer p99.
  const Variation stalls{.stalls_per_ms = 0.01 / 30, .stall_ms = {90, 100, 110}};
  LatencyCurve even(ShapeOf(kLine, {.max_rows = 32}));
  LatencyCurve stalled(ShapeOf(kLine, {.max_rows = 32}, stalls));
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
