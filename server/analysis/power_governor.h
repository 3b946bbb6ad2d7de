// Carries out what is asked of power: measures, lets the climbers decide (power_policy.h), sets
// the models' controls, and keeps what came of it for the metrics.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/analysis/adapter.h"
#include "server/analysis/observation.h"
#include "server/analysis/power_meter.h"
#include "server/analysis/power_policy.h"
#include "server/analysis/report.h"
#include "server/metrics/metric_point.h"

namespace bitmill {

struct PowerOptions {
  PowerWish server =
      {};  // the limit is the machine's; efficiency is every model's that says nothing
  bool trust_model = false;  // watts were declared, so an estimate is better than nothing
  MonotonicNanos window_ns = 5'000'000'000;
};

class PowerGovernor {
 public:
  // Borrows `sink`.
  PowerGovernor(const PowerOptions& options, ControlSink& sink);

  // After each report, on the analysis' thread; `observation` and `report` are of the same tick,
  // their models in the same order.
  void Tick(const Observation& observation, const AnalysisReport& report, const HostSample& newest);

  // bitmill_power_... Thread-safe.
  std::vector<MetricPoint> Metrics() const;

 private:
  using Key = std::pair<std::string, int64_t>;
  struct Served {
    PowerClimber climber{PowerWish{}};
    MonotonicNanos loaded_ns = 0;
    bool changed = false;  // its controls are ours
    double watts = -1;
    int level = 0;  // in effect: its own or the server's
    bool seen = false;
  };

  void TickServer(const Observation& observation, const AnalysisReport& report, double watts);
  void TickModel(const Observation& observation, const ModelWindow& window,
                 const ModelReport& report, double watts);
  void Follow(const ModelWindow& window);
  void WarnIfBlind(const Observation& observation);
  void Keep();
  // Of a batch while it is computed; 0: not known.
  double CpuWatts(double busy_cores) const;
  double DeviceWatts() const;

  const PowerOptions options_;
  ControlSink& sink_;
  PowerMeter meter_;
  PowerClimber server_;
  std::map<Key, Served> served_;
  int blind_ticks_ = 0;

  mutable Mutex mutex_;
  std::vector<MetricPoint> metrics_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
