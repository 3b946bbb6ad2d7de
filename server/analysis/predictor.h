// What is predicted of one served version, second by second: its service line, its capacity, the
// demand ahead, and when the one meets the other.
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
  MonotonicNanos since_ns = 0;  // executions that ended earlier are not its own
  ServiceLineFitOptions fit = {};
  DemandForecastOptions demand = {};
  LineDriftOptions drift = {};
};

// One for each loaded version; a new one when it is loaded again. Not thread-safe.
class ModelPredictor {
 public:
  explicit ModelPredictor(const PredictorOptions& options = {});

  // Called once a tick with the newest window. Windows overlap: what was seen in an earlier one is
  // not counted again. About 0.3 ms for 1,000 executions, and 40 ms in the rare tick in which the
  // proportions of the line or a control have changed.
  Forecast Update(const ModelWindow& window, const HostWindow& host);

  // How long an execution takes an instance: its run, and what lies between two of them while
  // requests wait (in a_ms).
  const ServiceLine& line() const { return line_; }
  // Of that, what lies between two executions; 0 while it is not known.
  double overhead_ms() const { return overhead_ms_; }
  // Rows per second with every execution full, whatever the objective; 0 while it is not known.
  double saturation_rows_per_s() const { return saturation_; }

 private:
  std::vector<ExecutionSample> NewExecutions(const ModelWindow& window);
  void UpdateOverhead(const ModelWindow& window);
  void UpdateCpuShare(const ModelWindow& window);
  void UpdateCurve(const ModelWindow& window, double parallel);
  double AroundMs(const ModelWindow& window) const;
  void UpdateDemand(const ModelWindow& window, double capacity);

  PredictorOptions options_;
  ServiceLineFit fit_;
  DemandForecast demand_;
  LineDrift drift_;
  LatencyCurve curve_;
  MonotonicNanos curve_built_ns_ = 0;
  int64_t curve_samples_ = 0;  // executions that were known when it was built
  ServiceLine line_;
  MonotonicNanos seen_until_ns_ = 0;  // executions that ended no later were seen
  MonotonicNanos last_tick_ns_ = 0;
  double overhead_ms_ = 0;
  double cpu_share_ = 1;  // of an execution's time
  double saturation_ = 0;
  double rows_per_request_ = 1;
};

}  // namespace bitmill
