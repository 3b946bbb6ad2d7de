#include "server/analysis/predictor.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6, kNanosPerSecond = 1e9;
constexpr double kMillisPerSecond = 1e3;
constexpr double kInterval = 1.645;  // standard deviations: 90 % within
constexpr size_t kLeastGaps = 5;
constexpr double kGain = 0.3;             // of what is smoothed from tick to tick
constexpr double kBacklogSeconds = 0.25;  // of capacity, waiting: no burst is that patient
constexpr double kRefusedShare = 0.01;
constexpr double kLeastLoad = 0.01;                           // where no load meets the objective
constexpr int64_t kEnoughSamples = 20'000, kMoreSamples = 4;  // executions behind a curve; times
constexpr MonotonicNanos kCurveNanos = 5'000'000'000;  // least between two replays of a shape
constexpr size_t kRequestSample = 64;

MonotonicNanos EndOf(const ExecutionRecord& execution) {
  return execution.start_ns + execution.compute_ns;
}

// Whether requests waited when it was gathered: then what lies before it is no idleness.
bool GatheredFromQueue(const ExecutionRecord& execution) {
  return execution.requests >= 2 && !execution.inline_run &&
         (execution.closed == BatchClosed::kNoDelay || execution.closed == BatchClosed::kFull ||
          execution.closed == BatchClosed::kPreferred);
}

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<int32_t> RequestRows(const ModelWindow& window) {
  std::vector<int32_t> rows;
  const size_t step = window.requests.size() / kRequestSample + 1;
  for (size_t i = 0; i < window.requests.size(); i += step) {
    rows.push_back(std::max(window.requests[i].rows, 1));
  }
  if (rows.empty()) rows.push_back(1);
  return rows;
}

}  // namespace

ModelPredictor::ModelPredictor(const PredictorOptions& options)
    : options_(options),
      fit_(options.fit),
      demand_(options.demand),
      drift_(options.drift),
      seen_until_ns_(options.since_ns) {}

Forecast ModelPredictor::Update(const ModelWindow& window, const HostWindow& host) {
  const std::vector<ExecutionSample> executions = NewExecutions(window);
  const MonotonicNanos since = last_tick_ns_ > 0 ? last_tick_ns_ : window.tick_begin_ns;
  const double seconds = static_cast<double>(window.end_ns - since) / kNanosPerSecond;
  fit_.Update(executions, window.execution_weight, seconds);
  last_tick_ns_ = window.end_ns;
  UpdateOverhead(window);
  UpdateCpuShare(window);
  drift_.Update(executions, fit_.line());
  line_ = fit_.line();
  if (line_.samples > 0) line_.a_ms += overhead_ms_;

  const int64_t max_rows = std::max<int64_t>(window.controls.max_rows, 1);
  const double parallel = ParallelExecutions(window.controls, host.cpu_budget_cores, cpu_share_);
  saturation_ = SaturationRowsPerSecond(line_, max_rows, parallel);
  Forecast forecast{.horizon_seconds = options_.horizon_seconds,
                    .a_drifted = drift_.a_drifted(),
                    .b_drifted = drift_.b_drifted()};
  const double full_ms = line_.a_ms + line_.b_ms * static_cast<double>(max_rows);
  const double around_ms = AroundMs(window);
  if (saturation_ > 0) {
    UpdateCurve(window, parallel);
    double load = 1;
    if (window.objective.p99_ms > 0) {
      load =
          std::max(curve_.LoadWithin((window.objective.p99_ms - around_ms) / full_ms), kLeastLoad);
    }
    forecast.capacity_rows_per_s = load * saturation_;
  }
  UpdateDemand(window, forecast.capacity_rows_per_s);
  if (!demand_.started()) return forecast;

  const double horizon = options_.horizon_seconds;
  forecast.demand_rows_per_s = demand_.level();
  forecast.demand_trend_rows_per_s2 = demand_.trend();
  forecast.demand_ahead_rows_per_s = demand_.Ahead(horizon);
  const double margin = kInterval * demand_.Sigma(horizon);
  forecast.demand_ahead_low = std::max(forecast.demand_ahead_rows_per_s - margin, 0.0);
  forecast.demand_ahead_high = forecast.demand_ahead_rows_per_s + margin;
  const double capacity = forecast.capacity_rows_per_s;
  if (capacity <= 0) return forecast;
  forecast.headroom = 1 - forecast.demand_ahead_rows_per_s / capacity;
  forecast.seconds_to_saturation = demand_.SecondsUntil(capacity, 0);
  forecast.seconds_to_saturation_low = demand_.SecondsUntil(capacity, kInterval);
  forecast.seconds_to_saturation_high = demand_.SecondsUntil(capacity, -kInterval);
  if (demand_.level() > 0) {
    // A queue that is full refuses: no answer is later than what waits in it.
    const double most_ms = static_cast<double>(window.controls.max_queue_requests) *
                               rows_per_request_ / saturation_ * kMillisPerSecond +
                           2 * full_ms;
    forecast.predicted_p99_ms =
        std::min(curve_.P99(demand_.level() / saturation_) * full_ms, most_ms) + around_ms;
  }
  return forecast;
}

// Judged by their end: a long one that began before the last tick was not among its records.
std::vector<ExecutionSample> ModelPredictor::NewExecutions(const ModelWindow& window) {
  std::vector<ExecutionSample> samples;
  MonotonicNanos newest = seen_until_ns_;
  for (const ExecutionRecord& execution : window.executions_seen) {
    if (EndOf(execution) <= seen_until_ns_) continue;
    newest = std::max(newest, EndOf(execution));
    samples.push_back({.rows = static_cast<double>(std::max(execution.rows, 1)),
                       .ms = static_cast<double>(execution.compute_ns) / kNanosPerMilli});
  }
  seen_until_ns_ = newest;
  return samples;
}

// The median time from the end of an execution to the start of the next on the same instance,
// where requests waited.
void ModelPredictor::UpdateOverhead(const ModelWindow& window) {
  if (window.execution_weight > 1) return;  // the neighbour may not be among the sample
  std::map<int32_t, MonotonicNanos> end_of_instance;
  std::vector<double> gaps;
  for (const ExecutionRecord& execution : window.executions_seen) {
    const auto before = end_of_instance.find(execution.instance);
    if (before != end_of_instance.end() && GatheredFromQueue(execution)) {
      gaps.push_back(
          std::max(static_cast<double>(execution.start_ns - before->second) / kNanosPerMilli, 0.0));
    }
    end_of_instance[execution.instance] = EndOf(execution);
  }
  if (gaps.size() < kLeastGaps) return;
  const double gap = Median(gaps);
  overhead_ms_ += (overhead_ms_ > 0 ? kGain : 1) * (gap - overhead_ms_);
}

void ModelPredictor::UpdateCpuShare(const ModelWindow& window) {
  double cpu = 0, wall = 0;
  for (const ExecutionRecord& execution : window.executions_seen) {
    if (execution.cpu_ns < 0) continue;
    cpu += static_cast<double>(execution.cpu_ns);
    wall += static_cast<double>(execution.compute_ns);
  }
  if (wall > 0) cpu_share_ += kGain * (std::clamp(cpu / wall, 0.0, 1.0) - cpu_share_);
}

void ModelPredictor::UpdateCurve(const ModelWindow& window, double parallel) {
  QueueShape shape = ShapeOf(line_, window.controls, fit_.variation());
  shape.instances = std::max(static_cast<int>(std::lround(parallel)), 1);
  shape.request_rows = RequestRows(window);
  const bool few = curve_samples_ < kEnoughSamples && line_.samples > kMoreSamples * curve_samples_;
  if (curve_.known() && !few && curve_.shape().Like(shape)) return;
  const bool changed =
      curve_.shape().max_rows != shape.max_rows || curve_.shape().instances != shape.instances;
  if (curve_.known() && !changed && window.end_ns - curve_built_ns_ < kCurveNanos) return;
  curve_ = LatencyCurve(shape);
  curve_built_ns_ = window.end_ns;
  curve_samples_ = line_.samples;
}

// What a request spends outside queue and execution.
double ModelPredictor::AroundMs(const ModelWindow& window) const {
  if (window.requests.empty()) return 0;
  double sum = 0;
  for (const RequestRecord& request : window.requests) {
    const StageTimes& stages = request.stages;
    sum += static_cast<double>(stages[Stage::kDecode] + stages[Stage::kEncode]);
    if (overhead_ms_ > 0) continue;  // it is in the line
    sum += static_cast<double>(stages[Stage::kAssemble] + stages[Stage::kSchedule] +
                               stages[Stage::kSplit]);
  }
  return sum / static_cast<double>(window.requests.size()) / kNanosPerMilli;
}

void ModelPredictor::UpdateDemand(const ModelWindow& window, double capacity) {
  const double seconds =
      static_cast<double>(window.end_ns - window.tick_begin_ns) / kNanosPerSecond;
  if (seconds <= 0) return;
  const auto rows = static_cast<double>(window.tick_arrived_rows);
  if (window.tick_arrived > 0) {
    rows_per_request_ = std::max(rows / static_cast<double>(window.tick_arrived), 1.0);
  }
  const double waiting = static_cast<double>(window.queue_depth) * rows_per_request_;
  const bool refuses = static_cast<double>(window.tick_refused) >
                       kRefusedShare * static_cast<double>(window.tick_arrived);
  const bool over = capacity > 0 && rows / seconds > capacity;
  demand_.Update(rows, seconds, rows_per_request_,
                 over && (refuses || waiting > kBacklogSeconds * capacity));
}

}  // namespace bitmill
