#include "server/analysis/predictor.h"

#include <algorithm>
#include <cmath>

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6, kNanosPerSecond = 1e9;
constexpr double kMillisPerSecond = 1e3;
constexpr double kGain = 0.3;             // of what is smoothed from tick to tick
constexpr double kBacklogSeconds = 0.25;  // of capacity, waiting: no burst is that patient
constexpr double kRefusedShare = 0.01;
constexpr double kLeastLoad = 0.01;                           // where no load meets the objective
constexpr int64_t kEnoughSamples = 20'000, kMoreSamples = 4;  // executions behind a curve; times
constexpr MonotonicNanos kChangedSooner = 5;                  // times, when a control has changed
constexpr size_t kRequestSample = 64;
constexpr int64_t kFullTurn = 128;  // requests that an I/O thread gathers at most (IoLoop)
constexpr int32_t kLargeTurn = 32;

MonotonicNanos EndOf(const ExecutionRecord& execution) {
  return execution.start_ns + execution.compute_ns;
}

double FullMs(const ServiceLine& line, int64_t rows) {
  return line.a_ms + line.b_ms * static_cast<double>(rows);
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
      run_(options.fit),
      around_(options.fit),
      turn_(options.turn),
      demand_(options.demand),
      drift_(options.drift),
      seen_until_ns_(options.since_ns),
      turns_until_ns_(options.since_ns) {}

Forecast ModelPredictor::Update(const ModelWindow& window, const HostWindow& host) {
  const NewExecutions executions = TakeNewExecutions(window);
  const MonotonicNanos since = last_tick_ns_ > 0 ? last_tick_ns_ : window.tick_begin_ns;
  const double seconds = static_cast<double>(window.end_ns - since) / kNanosPerSecond;
  last_tick_ns_ = window.end_ns;
  run_.Update(executions.runs, window.execution_weight, seconds);
  around_.Update(executions.around, window.execution_weight, seconds);
  UpdateTurns(window, seconds);
  UpdateShares(window);
  drift_.Update(executions.runs, run_.line());
  line_ = run_.line();
  line_.a_ms += around_.line().a_ms;
  line_.b_ms += around_.line().b_ms;
  UpdateSaturation(window, host);

  Forecast forecast{.horizon_seconds = options_.horizon_seconds,
                    .capacity_limit = saturation_.limit,
                    .receive_ms = FullMs(turn_line(), kFullTurn) / kFullTurn,
                    .split_known = LimitingLine().split_known,
                    .a_drifted = drift_.a_drifted(),
                    .b_drifted = drift_.b_drifted()};
  if (saturation_.rows_per_s > 0) {
    UpdateCurve(window);
    double load = 1;
    if (window.objective.p99_ms > 0) {
      const double left_ms = window.objective.p99_ms - AroundMs(window);
      load = std::max(curve_.LoadWithin(left_ms / curve_unit_ms_), kLeastLoad);
    }
    forecast.capacity_rows_per_s = load * saturation_.rows_per_s;
  }
  UpdateDemand(window, forecast.capacity_rows_per_s);
  if (!demand_.started()) return forecast;

  const double horizon = options_.horizon_seconds;
  forecast.demand_rows_per_s = demand_.level();
  forecast.demand_trend_rows_per_s2 = demand_.trend();
  forecast.demand_ahead_rows_per_s = demand_.Ahead(horizon);
  const double margin = demand_.spread() * demand_.Sigma(horizon);
  forecast.demand_ahead_low = std::max(forecast.demand_ahead_rows_per_s - margin, 0.0);
  forecast.demand_ahead_high = forecast.demand_ahead_rows_per_s + margin;
  const double capacity = forecast.capacity_rows_per_s;
  if (capacity <= 0) return forecast;
  forecast.headroom = 1 - forecast.demand_ahead_rows_per_s / capacity;
  forecast.seconds_to_saturation = demand_.SecondsUntil(capacity, 0);
  forecast.seconds_to_saturation_low = demand_.SecondsUntil(capacity, demand_.spread());
  forecast.seconds_to_saturation_high = demand_.SecondsUntil(capacity, -demand_.spread());
  if (demand_.level() > 0) forecast.predicted_p99_ms = PredictedP99Ms(window);
  return forecast;
}

double ModelPredictor::PredictedP99Ms(const ModelWindow& window) {
  // A queue that is full refuses: no answer is later than what waits in it.
  const double most_ms = static_cast<double>(window.controls.max_queue_requests) *
                             rows_per_request_ / saturation_.rows_per_s * kMillisPerSecond +
                         2 * curve_unit_ms_;
  const double load = demand_.level() / saturation_.rows_per_s;
  return std::min(curve_.P99(load) * curve_unit_ms_, most_ms) + AroundMs(window);
}

// Judged by their end: a long one that began before the last tick was not among its records.
ModelPredictor::NewExecutions ModelPredictor::TakeNewExecutions(const ModelWindow& window) {
  NewExecutions taken;
  MonotonicNanos newest = seen_until_ns_;
  for (const ExecutionRecord& execution : window.executions_seen) {
    if (EndOf(execution) <= seen_until_ns_) continue;
    newest = std::max(newest, EndOf(execution));
    const double rows = std::max(execution.rows, 1);
    taken.runs.push_back(
        {.rows = rows, .ms = static_cast<double>(execution.compute_ns) / kNanosPerMilli});
    taken.around.push_back(
        {.rows = rows, .ms = static_cast<double>(execution.around_ns) / kNanosPerMilli});
  }
  seen_until_ns_ = newest;
  return taken;
}

void ModelPredictor::UpdateTurns(const ModelWindow& window, double seconds) {
  std::vector<ExecutionSample> turns;
  for (const TurnRecord& turn : window.turns) {
    if (turn.end_ns <= turns_until_ns_) continue;
    turns.push_back({.rows = static_cast<double>(std::max(turn.requests, 1)),
                     .ms = static_cast<double>(turn.cpu_ns) / kNanosPerMilli});
  }
  if (!window.turns.empty()) turns_until_ns_ = window.turns.back().end_ns;
  turn_.Update(turns, 1, seconds);
  double large_ms = 0, large_requests = 0;
  for (const ExecutionSample& turn : turns) {
    if (turn.rows < kLargeTurn) continue;
    large_ms += turn.ms;
    large_requests += turn.rows;
  }
  if (large_requests <= 0) return;
  const double each_ms = large_ms / large_requests;
  large_turn_ms_ =
      large_turn_ms_ > 0 ? large_turn_ms_ + kGain * (each_ms - large_turn_ms_) : each_ms;
}

// Turns of one and two requests say little of full ones: a request that is read alone costs up to
// three times as much. Where large turns were seen, the line goes from what one request takes to
// them.
ServiceLine ModelPredictor::turn_line() const {
  ServiceLine line = turn_.line();
  const double one_ms = FullMs(line, 1), full_ms = kFullTurn * large_turn_ms_;
  if (line.samples == 0 || full_ms <= one_ms) return line;
  line.b_ms = (full_ms - one_ms) / (kFullTurn - 1);
  line.a_ms = one_ms - line.b_ms;
  return line;
}

void ModelPredictor::UpdateShares(const ModelWindow& window) {
  double cpu = 0, wall = 0, rows = 0, inline_rows = 0;
  for (const ExecutionRecord& execution : window.executions_seen) {
    rows += execution.rows;
    if (execution.inline_run) inline_rows += execution.rows;
    if (execution.cpu_ns < 0) continue;
    cpu += static_cast<double>(execution.cpu_ns);
    wall += static_cast<double>(execution.compute_ns);
  }
  if (wall > 0) cpu_share_ += kGain * (std::clamp(cpu / wall, 0.0, 1.0) - cpu_share_);
  if (rows <= 0) return;
  const double share = inline_rows / rows;
  inline_share_ = inline_share_ < 0 ? share : inline_share_ + kGain * (share - inline_share_);
}

void ModelPredictor::UpdateSaturation(const ModelWindow& window, const HostWindow& host) {
  saturation_ = SaturationOf({.line = line_,
                              .max_rows = window.controls.max_rows,
                              .instances = window.controls.instances,
                              .cpu_share = cpu_share_,
                              .cpu_budget_cores = host.cpu_budget_cores,
                              .receive_ms = FullMs(turn_line(), kFullTurn) / kFullTurn,
                              .io_threads = window.io_threads,
                              .rows_per_request = rows_per_request_,
                              .inline_share = inline_share_});
}

ServiceLine ModelPredictor::LimitingLine() const {
  return saturation_.limit == CapacityLimit::kIoThreads ? turn_line() : line_;
}

// Of the queue in front of what limits the model.
void ModelPredictor::UpdateCurve(const ModelWindow& window) {
  const bool receiving = saturation_.limit == CapacityLimit::kIoThreads;
  ModelControls controls = window.controls;
  if (receiving) controls = {.max_rows = kFullTurn, .instances = window.io_threads};
  controls.max_rows = std::max<int64_t>(controls.max_rows, 1);
  const ServiceLine line = LimitingLine();
  curve_unit_ms_ = FullMs(line, controls.max_rows);
  QueueShape shape = ShapeOf(line, controls, receiving ? turn_.variation() : run_.variation());
  if (!receiving) {
    const double instances = SaturationRowsPerSecond(line_, controls.max_rows, 1);
    shape.instances =
        std::max(static_cast<int>(std::lround(saturation_.rows_per_s / instances)), 1);
    shape.request_rows = RequestRows(window);
  }
  const bool few = curve_samples_ < kEnoughSamples && line.samples > kMoreSamples * curve_samples_;
  if (curve_.known() && !few && curve_.shape().Like(shape)) return;
  const bool changed =
      curve_.shape().max_rows != shape.max_rows || curve_.shape().instances != shape.instances;
  const MonotonicNanos period_ns = changed ? curve_period_ns_ / kChangedSooner : curve_period_ns_;
  if (curve_.known() && window.end_ns - curve_built_ns_ < period_ns) return;
  curve_ = LatencyCurve(shape);
  curve_built_ns_ = window.end_ns;
  curve_samples_ = line.samples;
}

// What a request spends outside of what the curve is about. A turn has all of it, but for an
// execution by a worker.
double ModelPredictor::AroundMs(const ModelWindow& window) const {
  if (window.requests.empty()) return 0;
  const bool receiving = saturation_.limit == CapacityLimit::kIoThreads;
  double sum = 0;
  for (const RequestRecord& request : window.requests) {
    const StageTimes& stages = request.stages;
    if (!receiving) {
      sum += static_cast<double>(stages[Stage::kDecode] + stages[Stage::kEncode] +
                                 stages[Stage::kSchedule]);
    } else if (inline_share_ < 0.5) {
      sum += static_cast<double>(stages[Stage::kSchedule] + stages[Stage::kQueue] +
                                 stages[Stage::kAssemble] + stages[Stage::kCompute] +
                                 stages[Stage::kSplit]);
    }
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
