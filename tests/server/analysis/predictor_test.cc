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

TEST(ModelPredictorTest, GatheringAndAnsweringArePartOfTheLine) {
  ModelWindow window;
  window.controls.max_rows = 8;
  window.end_ns = 5 * kSecond;
  window.tick_begin_ns = 4 * kSecond;
  for (MonotonicNanos at = 0; at < 5 * kSecond - 20 * kMilli; at += 20 * kMilli) {
    const int32_t rows = at % (40 * kMilli) == 0 ? 8 : 2;
    window.executions_seen.push_back({.start_ns = at,
                                      .compute_ns = rows * kMilli,
                                      .around_ns = kMilli / 2 + rows * kMilli / 4,
                                      .rows = rows,
                                      .padded_rows = rows,
                                      .requests = rows,
                                      .closed = BatchClosed::kNoDelay});
  }
  ModelPredictor predictor;
  predictor.Update(window, kHost);
  EXPECT_NEAR(predictor.line().a_ms, 0.5, 0.01);
  EXPECT_NEAR(predictor.line().b_ms, 1.25, 0.01);
  EXPECT_NEAR(predictor.run_line().a_ms, 0, 0.01);
  EXPECT_NEAR(predictor.run_line().b_ms, 1, 0.01);
  EXPECT_NEAR(predictor.saturation_rows_per_s(), 8'000 / 10.5, 2);
}

// Requests that an I/O thread found together, each half millisecond, and ran itself in 3 us: what
// lies between is mostly idleness.
ModelWindow MicrosecondWindow() {
  ModelWindow window;
  window.controls = {.max_rows = 32, .instances = 2};
  window.end_ns = 5 * kSecond;
  window.tick_begin_ns = 4 * kSecond;
  window.tick_arrived = window.tick_arrived_rows = 6000;
  int32_t requests = 2;
  for (MonotonicNanos at = 0; at < 5 * kSecond; at += kMilli / 2) {
    requests = requests == 2 ? 4 : 2;
    window.executions_seen.push_back({.start_ns = at,
                                      .compute_ns = 3'000,
                                      .around_ns = 10'000,
                                      .rows = requests,
                                      .padded_rows = requests,
                                      .requests = requests,
                                      .closed = BatchClosed::kNoDelay,
                                      .inline_run = true});
  }
  return window;
}

TEST(ModelPredictorTest, IdlenessBetweenInlineRunsIsNotPartOfTheLine) {
  ModelPredictor predictor;
  predictor.Update(MicrosecondWindow(), kHost);
  const ServiceLine line = predictor.line();
  EXPECT_NEAR(line.a_ms + 3 * line.b_ms, 0.013, 1e-4);
  EXPECT_LT(line.relative_error, 0.1);
}

TEST(ModelPredictorTest, AModelOfMicrosecondsServesWhatTheIoThreadsCanReceive) {
  ModelWindow window = MicrosecondWindow();
  int32_t requests = 2;
  for (MonotonicNanos at = 0; at < 5 * kSecond; at += 8 * kMilli) {
    requests = requests == 2 ? 4 : 2;
    window.turns.push_back(
        {.end_ns = at, .cpu_ns = 40'000 + 25'000 * requests, .requests = requests});
  }
  ModelPredictor predictor;
  const Forecast forecast = predictor.Update(window, {.cpu_budget_cores = 2});
  EXPECT_NEAR(predictor.turn_line().a_ms, 0.040, 0.002);
  EXPECT_NEAR(predictor.turn_line().b_ms, 0.025, 0.001);
  EXPECT_EQ(forecast.capacity_limit, CapacityLimit::kIoThreads);
  EXPECT_TRUE(forecast.split_known);
  EXPECT_NEAR(forecast.capacity_rows_per_s, 128'000 / (0.040 + 0.025 * 128), 1500);
  EXPECT_NEAR(forecast.receive_ms, 0.0253, 0.001);
  EXPECT_GT(forecast.predicted_p99_ms, 0.065);
  EXPECT_LT(forecast.predicted_p99_ms, 1);
  // Turns are seen once.
  const int64_t seen = predictor.turn_line().samples;
  predictor.Update(window, {.cpu_budget_cores = 2});
  EXPECT_EQ(predictor.turn_line().samples, seen);
}

TEST(ModelPredictorTest, WhatFullTurnsTakeIsRememberedWhileTheLoadIsLow) {
  const auto window_at = [](MonotonicNanos end, bool busy) {
    ModelWindow window = MicrosecondWindow();
    window.end_ns = end;
    window.tick_begin_ns = end - kSecond;
    for (MonotonicNanos at = end - kSecond; at < end; at += 7 * kMilli) {
      const int32_t requests = busy && at % 3 != 0 ? 64 : 1 + static_cast<int32_t>(at / kMilli % 2);
      const int64_t each_ns = requests > 2 ? 12'000 : 35'000;
      window.turns.push_back(
          {.end_ns = at, .cpu_ns = 20'000 + each_ns * requests, .requests = requests});
    }
    return window;
  };
  ModelPredictor predictor, never_busy;
  double told = 0, without = 0;
  for (int second = 5; second < 200; ++second) {
    const bool busy = second < 10;
    told = predictor.Update(window_at(second * kSecond, busy), kHost).capacity_rows_per_s;
    without = never_busy.Update(window_at(second * kSecond, false), kHost).capacity_rows_per_s;
  }
  EXPECT_NEAR(told, 1e6 / 12.3, 3000);
  EXPECT_LT(without, 35'000);
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
