#include "server/analysis/predictor.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/simulation/simulated_model.h"

namespace bitmill {
namespace {

constexpr HostWindow kHost{.cpu_budget_cores = 1};
constexpr int64_t kMilli = 1'000'000, kSecond = 1'000'000'000;

SimulatedModel Steady(double rate, const SimulationOptions& options = {}) {
  return SimulatedModel(
      options, [rate](double) { return rate; }, rate);
}

// A window of 5 s that ends at `end`, with executions of a row that take 4 ms, one each 10 ms.
ModelWindow Window(MonotonicNanos end) {
  ModelWindow window;
  window.controls.max_rows = 8;
  window.begin_ns = end - 5 * kSecond;
  window.end_ns = end;
  window.tick_begin_ns = end - kSecond;
  window.tick_arrived = window.tick_arrived_rows = 100;
  for (MonotonicNanos at = window.begin_ns; at + 4 * kMilli <= end; at += 10 * kMilli) {
    window.executions_seen.push_back(
        {.start_ns = at, .compute_ns = 4 * kMilli, .rows = 1, .padded_rows = 1, .requests = 1});
  }
  return window;
}

TEST(ModelPredictorTest, ForecastsDemandAndCapacityOfASteadyModel) {
  SimulatedModel model = Steady(600);
  ModelPredictor predictor;
  Forecast forecast;
  for (int i = 0; i < 60; ++i) forecast = predictor.Update(model.Next().window, kHost);
  EXPECT_NEAR(predictor.line().b_ms, 0.9, 0.05);
  EXPECT_NEAR(predictor.saturation_rows_per_s(), 1074, 50);
  EXPECT_LT(forecast.capacity_rows_per_s, predictor.saturation_rows_per_s());
  EXPECT_GT(forecast.capacity_rows_per_s, 900);
  EXPECT_NEAR(forecast.demand_rows_per_s, 600, 40);
  EXPECT_NEAR(forecast.headroom, 0.4, 0.12);
  EXPECT_LT(forecast.demand_ahead_low, 600);
  EXPECT_GT(forecast.demand_ahead_high, 600);
  EXPECT_FALSE(forecast.a_drifted || forecast.b_drifted);
}

TEST(ModelPredictorTest, AWindowThatIsSeenTwiceCountsOnce) {
  ModelPredictor predictor;
  predictor.Update(Window(10 * kSecond), kHost);
  EXPECT_EQ(predictor.line().samples, 500);
  predictor.Update(Window(11 * kSecond), kHost);
  EXPECT_EQ(predictor.line().samples, 600);
  predictor.Update(Window(11 * kSecond), kHost);
  EXPECT_EQ(predictor.line().samples, 600);
}

TEST(ModelPredictorTest, AnExecutionThatOutlastsItsTickCountsWhenItIsDone) {
  ModelPredictor predictor;
  predictor.Update(Window(10 * kSecond), kHost);
  ModelWindow window = Window(10 * kSecond);
  window.end_ns = 12 * kSecond;
  window.tick_begin_ns = 11 * kSecond;
  window.executions_seen.push_back(
      {.start_ns = 10 * kSecond - 5 * kMilli, .compute_ns = kSecond, .rows = 1, .requests = 1});
  predictor.Update(window, kHost);
  EXPECT_EQ(predictor.line().samples, 501);
}

TEST(ModelPredictorTest, TimeBetweenExecutionsWhileRequestsWaitIsPartOfA) {
  ModelWindow window;
  window.controls.max_rows = 8;
  window.end_ns = 5 * kSecond;
  window.tick_begin_ns = 4 * kSecond;
  for (MonotonicNanos at = 0; at < 5 * kSecond - 10 * kMilli; at += 10 * kMilli) {
    window.executions_seen.push_back({.start_ns = at,
                                      .compute_ns = 8 * kMilli,
                                      .rows = 8,
                                      .padded_rows = 8,
                                      .requests = 8,
                                      .closed = BatchClosed::kFull});
  }
  ModelPredictor predictor;
  predictor.Update(window, kHost);
  EXPECT_NEAR(predictor.overhead_ms(), 2.0, 1e-6);
  EXPECT_NEAR(predictor.saturation_rows_per_s(), 800, 1);

  ModelPredictor idle;  // one request at a time: what lies between is idleness
  for (ExecutionRecord& execution : window.executions_seen) {
    execution.requests = 1;
    execution.closed = BatchClosed::kNoDelay;
  }
  idle.Update(window, kHost);
  EXPECT_EQ(idle.overhead_ms(), 0);
}

TEST(ModelPredictorTest, AnExecutionThatIsHeldBackUsesLessCpu) {
  ModelWindow window = Window(5 * kSecond);
  window.controls.instances = 4;
  ModelPredictor whole;
  whole.Update(window, {.cpu_budget_cores = 2});
  for (ExecutionRecord& execution : window.executions_seen) {
    execution.cpu_ns = execution.compute_ns / 2;
  }
  ModelPredictor half;
  for (int i = 0; i < 20; ++i) half.Update(window, {.cpu_budget_cores = 2});
  EXPECT_NEAR(half.saturation_rows_per_s() / whole.saturation_rows_per_s(), 2, 0.01);
}

TEST(ModelPredictorTest, WithoutAnObjectiveTheCapacityIsSaturation) {
  SimulationOptions options;
  options.objective.p99_ms = 0;
  SimulatedModel model = Steady(400, options);
  ModelPredictor predictor;
  Forecast forecast;
  for (int i = 0; i < 10; ++i) forecast = predictor.Update(model.Next().window, kHost);
  EXPECT_DOUBLE_EQ(forecast.capacity_rows_per_s, predictor.saturation_rows_per_s());
}

TEST(ModelPredictorTest, AModelThatNobodyAsksHasNoCapacityYetAndNoDemand) {
  ModelPredictor predictor;
  ModelWindow window;
  window.end_ns = kSecond;
  const Forecast forecast = predictor.Update(window, kHost);
  EXPECT_EQ(forecast.capacity_rows_per_s, 0);
  EXPECT_EQ(forecast.demand_rows_per_s, 0);
  EXPECT_EQ(forecast.headroom, 1);
  EXPECT_EQ(forecast.predicted_p99_ms, 0);
}

}  // namespace
}  // namespace bitmill
