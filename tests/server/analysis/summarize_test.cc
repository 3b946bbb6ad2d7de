#include "server/analysis/summarize.h"

#include <gtest/gtest.h>

#include "tests/server/analysis/injected_windows.h"

namespace bitmill {
namespace {

constexpr int64_t kMilli = 1'000'000;

// Ten requests in 2 s; the i-th takes i + 1 ms, of which 1 computing; one is refused.
ModelWindow TenRequests() {
  ModelWindow window;
  window.begin_ns = 1'000 * kMilli;
  window.end_ns = 3'000 * kMilli;
  window.controls.instances = 2;
  for (int i = 0; i < 10; ++i) {
    RequestRecord request{.received_ns = window.begin_ns + i * 100 * kMilli,
                          .total_ns = (i + 1) * kMilli,
                          .stages = {},
                          .write_ns = kMilli / 2,
                          .rows = 2};
    request.stages[Stage::kQueue] = i * kMilli;
    request.stages[Stage::kCompute] = kMilli;
    window.requests.push_back(request);
  }
  window.requests.push_back({.received_ns = 2'500 * kMilli, .stages = {}, .code = 8});
  window.arrived = 11;
  window.answered = 10;
  window.refused = 1;
  window.rows = 20;
  window.executions = 4;
  window.executions_seen = {{.start_ns = window.begin_ns,
                             .compute_ns = 100 * kMilli,
                             .rows = 5,
                             .closed = BatchClosed::kFull},
                            {.start_ns = 2'000 * kMilli,
                             .compute_ns = 300 * kMilli,
                             .rows = 5,
                             .closed = BatchClosed::kNoDelay}};
  window.execution_weight = 2;
  window.mean_in_system = 55e-3 / 2;  // 55 ms together, over 2 s
  return window;
}

TEST(SummarizeTest, RatesAreOfTheExactCounts) {
  const ModelReport report = Summarize(TenRequests(), {});
  EXPECT_DOUBLE_EQ(report.offered_per_s, 5.5);
  EXPECT_DOUBLE_EQ(report.answered_per_s, 5);
  EXPECT_DOUBLE_EQ(report.refused_per_s, 0.5);
  EXPECT_DOUBLE_EQ(report.rows_per_s, 10);
  EXPECT_DOUBLE_EQ(report.executions_per_s, 2);
  EXPECT_DOUBLE_EQ(report.mean_batch_rows, 5);
}

TEST(SummarizeTest, QuantilesAndStagesAreOfAnsweredRequests) {
  const ModelReport report = Summarize(TenRequests(), {});
  EXPECT_DOUBLE_EQ(report.latency.mean_ms, 5.5);
  EXPECT_DOUBLE_EQ(report.latency.p50_ms, 6);  // index round(4.5)
  EXPECT_DOUBLE_EQ(report.latency.p99_ms, 10);
  EXPECT_DOUBLE_EQ(report.latency.max_ms, 10);
  double counted = 0;
  for (const double count : report.latency_histogram.counts) counted += count;
  EXPECT_DOUBLE_EQ(counted, 10);
  EXPECT_NEAR(QuantileMs(report.latency_histogram, 0.5), 5.5, 0.5);
  EXPECT_DOUBLE_EQ(report.stage_mean_ms[static_cast<size_t>(Stage::kQueue)], 4.5);
  EXPECT_DOUBLE_EQ(report.stage_p99_ms[static_cast<size_t>(Stage::kCompute)], 1);
  EXPECT_DOUBLE_EQ(report.write_mean_ms, 0.5);
}

TEST(SummarizeTest, GoodputCountsWhatMeetsTheObjective) {
  ModelWindow window = TenRequests();
  EXPECT_DOUBLE_EQ(Summarize(window, {}).goodput_per_s, 5);
  window.objective.p99_ms = 4;
  EXPECT_DOUBLE_EQ(Summarize(window, {}).goodput_per_s, 2);  // 4 of 10
}

TEST(SummarizeTest, ExecutionsGiveBusyShareClosingReasonsAndShareOfTheLimit) {
  ModelWindow window = TenRequests();
  window.facts.compute_floor_ns = 20 * kMilli;
  const ModelReport report = Summarize(window, {});
  EXPECT_DOUBLE_EQ(report.busy_share, 0.2);  // 400 ms, each for two, of 2 x 2 s
  EXPECT_DOUBLE_EQ(report.closed_share[static_cast<size_t>(BatchClosed::kFull)], 0.5);
  EXPECT_DOUBLE_EQ(report.share_of_limit, 0.5);  // 10 rows x 20 ms of 400 ms
}

TEST(SummarizeTest, ChecksFindStagesThatAreMissingAndRequestsThatWereNotCounted) {
  ModelWindow window = TenRequests();
  EXPECT_DOUBLE_EQ(Summarize(window, {}).stage_sum_error, 0);
  EXPECT_NEAR(Summarize(window, {}).little_error, 0, 1e-9);
  window.requests[9].stages[Stage::kQueue] = 0;  // 9 of 55 ms
  EXPECT_NEAR(Summarize(window, {}).stage_sum_error, 9.0 / 55, 1e-9);
  window.mean_in_system *= 2;
  EXPECT_NEAR(Summarize(window, {}).little_error, 0.5, 1e-9);
}

TEST(SummarizeTest, AnEmptyWindowHasZeros) {
  const ModelReport report = Summarize({}, {});
  EXPECT_EQ(report.latency.p99_ms, 0);
  EXPECT_EQ(report.share_of_limit, -1);
}

TEST(SummarizeTest, SteadySimulatedWindowsPassTheirChecks) {
  for (int model = 0; model < kSimulatedModels; ++model) {
    const InjectedWindow injected =
        MakeInjectedWindow({.model = static_cast<SimulatedModel>(model)});
    const ModelReport report = Summarize(injected.window, injected.limits);
    EXPECT_LT(report.stage_sum_error, 0.01);
    EXPECT_LT(report.little_error, 0.02);
  }
}

}  // namespace
}  // namespace bitmill
