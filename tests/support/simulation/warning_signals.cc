#include "tests/support/simulation/warning_signals.h"

#include <algorithm>

namespace bitmill {
namespace {

constexpr size_t kLinearSeconds = 30;
constexpr double kAheadSeconds = 30;
constexpr double kBusy = 0.9;

}  // namespace

std::array<bool, kSignals> WarningSignals::Update(const SimulatedTick& tick) {
  const ModelWindow& window = tick.window;
  HostWindow host{.seconds = window.seconds(),
                  .cpu_budget_cores = static_cast<double>(window.controls.instances)};
  forecast_ = predictor_.Update(window, host);
  ModelReport model;
  model.facts = window.facts;
  model.controls = window.controls;
  model.objective = window.objective;
  model.mean_batch_rows = tick.mean_batch_rows;
  model.queue_depth = window.queue_depth;
  model.line = predictor_.line();
  model.forecast = forecast_;
  model.latency.p99_ms = tick.p99_ms;
  AnalysisReport report;
  report.unix_millis = unix_millis_ += 1000;
  report.host = host;
  report.models = {model};
  book_.Update(report);
  const double objective = window.objective.p99_ms;
  return {tick.busy > kBusy, tick.p99_ms > objective / 2, PredictLinear(tick.p99_ms, objective),
          Holds(WarningReason::kSaturationAhead) || Holds(WarningReason::kOverloaded)};
}

bool WarningSignals::Holds(WarningReason reason) const {
  const std::vector<Warning> holding = book_.Holding();
  return std::any_of(holding.begin(), holding.end(),
                     [reason](const Warning& warning) { return warning.reason == reason; });
}

// The least squares line through the points, extended.
bool WarningSignals::PredictLinear(double p99_ms, double objective_ms) {
  p99_ms_.push_back(p99_ms);
  if (p99_ms_.size() > kLinearSeconds) p99_ms_.pop_front();
  if (p99_ms_.size() < kLinearSeconds) return false;
  double x = 0, y = 0, xx = 0, xy = 0;
  for (size_t i = 0; i < p99_ms_.size(); ++i) {
    const double at = static_cast<double>(i) - static_cast<double>(p99_ms_.size() - 1);  // now: 0
    x += at;
    y += p99_ms_[i];
    xx += at * at;
    xy += at * p99_ms_[i];
  }
  const auto count = static_cast<double>(p99_ms_.size());
  const double slope = (count * xy - x * y) / (count * xx - x * x);
  const double now = (y - slope * x) / count;
  return now + slope * kAheadSeconds > objective_ms;
}

}  // namespace bitmill
