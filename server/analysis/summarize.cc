#include "server/analysis/summarize.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "server/analysis/latency_histogram.h"
#include "server/analysis/limit_share.h"
#include "server/analysis/quantile.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6;

void SetRates(const ModelWindow& window, double seconds, ModelReport& report) {
  const auto rate = [seconds](int64_t count) { return static_cast<double>(count) / seconds; };
  report.offered_per_s = rate(window.arrived);
  report.answered_per_s = rate(window.answered);
  report.refused_per_s = rate(window.refused);
  report.expired_per_s = rate(window.expired);
  report.failed_per_s = rate(window.failed);
  report.rows_per_s = rate(window.rows);
  report.executions_per_s = rate(window.executions);
  if (window.executions > 0) {
    report.mean_batch_rows =
        static_cast<double>(window.rows) / static_cast<double>(window.executions);
  }
}

Quantiles QuantilesOf(std::vector<int64_t>& totals) {
  Quantiles quantiles;
  if (totals.empty()) return quantiles;
  double sum = 0;
  int64_t most = 0;
  for (const int64_t total : totals) {
    sum += static_cast<double>(total);
    most = std::max(most, total);
  }
  const auto millis = [&totals](double quantile) {
    return static_cast<double>(TakeQuantile(totals, quantile)) / kNanosPerMilli;
  };
  quantiles.mean_ms = sum / static_cast<double>(totals.size()) / kNanosPerMilli;
  quantiles.p50_ms = millis(0.5);
  quantiles.p90_ms = millis(0.9);
  quantiles.p99_ms = millis(0.99);
  quantiles.max_ms = static_cast<double>(most) / kNanosPerMilli;
  return quantiles;
}

// Latency, goodput, stages and the check of their sum, from the answered requests.
void SetRequests(const ModelWindow& window, ModelReport& report) {
  std::vector<int64_t> totals;
  totals.reserve(window.requests.size());
  std::array<std::vector<int64_t>, kStages> stages;
  for (auto& stage : stages) stage.reserve(window.requests.size());
  double formation = 0, write = 0, sum_of_totals = 0, sum_of_gaps = 0;
  int64_t good = 0;
  for (const RequestRecord& request : window.requests) {
    if (request.code != 0) continue;
    totals.push_back(request.total_ns);
    int64_t in_stages = 0;
    for (size_t stage = 0; stage < stages.size(); ++stage) {
      stages[stage].push_back(request.stages.ns[stage]);
      in_stages += request.stages.ns[stage];
    }
    formation += static_cast<double>(request.formation_ns);
    write += static_cast<double>(request.write_ns);
    sum_of_totals += static_cast<double>(request.total_ns);
    sum_of_gaps += static_cast<double>(std::abs(in_stages - request.total_ns));
    const double total_ms = static_cast<double>(request.total_ns) / kNanosPerMilli;
    if (window.objective.p99_ms <= 0 || total_ms <= window.objective.p99_ms) ++good;
  }
  if (totals.empty()) return;
  const auto count = static_cast<double>(totals.size());
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    double sum = 0;
    for (const int64_t ns : stages[stage]) sum += static_cast<double>(ns);
    report.stage_mean_ms[stage] = sum / count / kNanosPerMilli;
    report.stage_p99_ms[stage] =
        static_cast<double>(TakeQuantile(stages[stage], 0.99)) / kNanosPerMilli;
  }
  report.formation_mean_ms = formation / count / kNanosPerMilli;
  report.write_mean_ms = write / count / kNanosPerMilli;
  report.goodput_per_s = report.answered_per_s * static_cast<double>(good) / count;
  report.stage_sum_error = sum_of_totals > 0 ? sum_of_gaps / sum_of_totals : 0;
  std::vector<double> totals_ms;
  totals_ms.reserve(totals.size());
  for (const int64_t total : totals) {
    totals_ms.push_back(static_cast<double>(total) / kNanosPerMilli);
  }
  report.latency_histogram = HistogramOf(totals_ms, window.request_weight);
  report.latency = QuantilesOf(totals);
}

void SetExecutions(const ModelWindow& window, const MachineLimits& limits, double seconds,
                   ModelReport& report) {
  double busy_ns = 0, rows = 0;
  std::array<double, kBatchClosedReasons> closed{};
  for (const ExecutionRecord& execution : window.executions_seen) {
    busy_ns += static_cast<double>(execution.compute_ns);
    rows += std::max(execution.rows, execution.padded_rows);
    closed[static_cast<size_t>(execution.closed)] += 1;
  }
  const auto seen = static_cast<double>(window.executions_seen.size());
  if (seen <= 0) return;
  for (size_t reason = 0; reason < closed.size(); ++reason) {
    report.closed_share[reason] = closed[reason] / seen;
  }
  const double instance_ns = std::max(window.controls.instances, 1) * seconds * 1e9;
  report.busy_share = std::min(busy_ns * window.execution_weight / instance_ns, 1.0);
  const LimitShare share = ShareOfLimits(window.facts, limits, rows, seen, busy_ns);
  report.share_of_limit = std::max(share.compute, share.memory);
}

double LittleError(const ModelWindow& window, double seconds) {
  double sum_ns = 0;
  for (const RequestRecord& request : window.requests) {
    sum_ns += static_cast<double>(request.total_ns);
  }
  const double by_rate = sum_ns * window.request_weight * 1e-9 / seconds;
  const double most = std::max(by_rate, window.mean_in_system);
  return most > 0 ? std::abs(by_rate - window.mean_in_system) / most : 0;
}

}  // namespace

ModelReport Summarize(const ModelWindow& window, const MachineLimits& limits) {
  ModelReport report;
  report.facts = window.facts;
  report.controls = window.controls;
  report.objective = window.objective;
  report.queue_depth = window.queue_depth;
  report.in_system = window.mean_in_system;
  const double seconds = window.seconds();
  if (seconds <= 0) return report;
  SetRates(window, seconds, report);
  SetRequests(window, report);
  SetExecutions(window, limits, seconds, report);
  report.little_error = LittleError(window, seconds);
  return report;
}

}  // namespace bitmill
