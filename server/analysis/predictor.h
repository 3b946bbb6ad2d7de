// What is predicted of one served version, second by second: its service line, what receiving its
// requests takes, its capacity, the demand ahead, and when the one meets the other.
#pragma once

#include <cstdint>
#include <vector>

#include "server/analysis/capacity.h"
#include "server/analysis/cusum.h"
#include "server/analysis/demand_forecast.h"
#include "server/analysis/report.h"
#include "server/analysis/service_line_fit.h"

namespace bitmill {

struct PredictorOptions {
  double horizon_seconds = 30;
  MonotonicNanos since_ns = 0;  // executions and turns that ended earlier are not its own
  ServiceLineFitOptions fit = {};
  // What a turn of an I/O thread takes changes with the kind of requests, hardly with the hour; a
  // long memory sees turns of several sizes. Most of a turn of one request is waking up.
  ServiceLineFitOptions turn = {.memory_seconds = 60,
                                .stretch_memory_seconds = 30,
                                .stall_memory_seconds = 60,
                                .prior_rows = 3};
  DemandForecastOptions demand = {};
  LineDriftOptions drift = {};
};

// One for each loaded version; a new one when it is loaded again. Not thread-safe.
class ModelPredictor {
 public:
  explicit ModelPredictor(const PredictorOptions& options = {});

  // Called once a tick with the newest window. Windows overlap: what was seen in an earlier one is
  // not counted again. About 0.3 ms for 1,000 executions, and what a curve takes (capacity.h) in
  // the rare tick in which the proportions of the line or a control have changed.
  Forecast Update(const ModelWindow& window, const HostWindow& host);

  // The least time between two replays of the latency over the load, which are what costs most: the
  // longer, the more models share the thread. A change of controls is replayed in a fifth of it.
  void set_curve_period_ns(MonotonicNanos ns) { curve_period_ns_ = ns; }
  // Requests that were replayed for the curve of now: as many again for the next.
  int64_t replayed() const { return curve_.replayed(); }

  // How long an execution takes an instance: its run, gathering before it and answering after it.
  const ServiceLine& line() const { return line_; }
  // Of that, the run alone.
  ServiceLine run_line() const { return run_.line(); }
  // CPU time of an I/O thread's turn in which n requests are received: a + b n.
  ServiceLine turn_line() const;
  // Rows per second at saturation, whatever the objective; 0 while it is not known.
  double saturation_rows_per_s() const { return saturation_.rows_per_s; }

 private:
  // Executions, and what lay around them, that were not seen before.
  struct NewExecutions {
    std::vector<ExecutionSample> runs, around;
  };
  NewExecutions TakeNewExecutions(const ModelWindow& window);
  void UpdateTurns(const ModelWindow& window, double seconds);
  void UpdateShares(const ModelWindow& window);
  void UpdateSaturation(const ModelWindow& window, const HostWindow& host);
  ServiceLine LimitingLine() const;  // of the executions, or of the I/O threads' turns
  void UpdateCurve(const ModelWindow& window);
  double AroundMs(const ModelWindow& window) const;
  double PredictedP99Ms(const ModelWindow& window);
  void UpdateDemand(const ModelWindow& window, double capacity);

  PredictorOptions options_;
  ServiceLineFit run_, around_, turn_;
  DemandForecast demand_;
  LineDrift drift_;
  LatencyCurve curve_;
  double curve_unit_ms_ = 0;  // what a full execution, or a full turn, takes now
  MonotonicNanos curve_built_ns_ = 0, curve_period_ns_ = 5'000'000'000;
  int64_t curve_samples_ = 0;  // executions that were known when it was built
  ServiceLine line_;
  MonotonicNanos seen_until_ns_ = 0;   // executions that ended no later were seen
  MonotonicNanos turns_until_ns_ = 0;  // and turns
  MonotonicNanos last_tick_ns_ = 0;
  // CPU time for each request of large turns, which are seen only under load and then remembered;
  // 0: there was none.
  double large_turn_ms_ = 0;
  double cpu_share_ = 1;      // of an execution's time
  double inline_share_ = -1;  // of the rows; -1: not known
  Saturation saturation_;
  double rows_per_request_ = 1;
};

}  // namespace bitmill
