#include "server/analysis/power_governor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kSameDelay = 10;  // within a tenth
constexpr int kBlindTicks = 5;             // the first readings take two seconds

double BusyCores(const ModelReport& report) {
  return report.busy_share * static_cast<double>(report.controls.instances);
}

// What the objective leaves for a delay is known a little differently each second: that is no
// reason to change it.
bool Same(const ModelControls& a, const ModelControls& b) {
  const MonotonicNanos longest = std::max(a.max_delay_ns, b.max_delay_ns);
  return a.max_rows == b.max_rows && a.instances == b.instances &&
         longest - std::min(a.max_delay_ns, b.max_delay_ns) <= longest / kSameDelay;
}

MetricPoint Gauge(const char* name, const char* help,
                  std::vector<std::pair<std::string, std::string>> labels, double value) {
  return {.name = name, .help = help, .labels = std::move(labels), .value = value};
}

}  // namespace

PowerGovernor::PowerGovernor(const PowerOptions& options, ControlSink& sink)
    : options_(options),
      sink_(sink),
      meter_(options.window_ns, options.trust_model),
      server_({.max_watts = options.server.max_watts, .efficiency = false}) {}

void PowerGovernor::WarnIfBlind(const Observation& observation) {
  if (meter_.readable() || blind_ticks_ > kBlindTicks) return;
  const bool wanted = options_.server.any() ||
                      std::ranges::any_of(observation.models, [](const ModelWindow& window) {
                        return window.objective.power.any();
                      });
  if (!wanted || ++blind_ticks_ <= kBlindTicks) return;
  LogWarning(
      "power settings have no effect: neither RAPL nor NVML can be read here, and no watts are "
      "declared (--power-core-watts)");
}

void PowerGovernor::Tick(const Observation& observation, const AnalysisReport& report,
                         const HostSample& newest) {
  meter_.Add(newest);
  WarnIfBlind(observation);
  const double watts = meter_.TotalWatts();
  TickServer(observation, report, watts);
  double busy = 0;
  for (const ModelReport& model : report.models) busy += BusyCores(model);
  for (auto& [key, served] : served_) served.seen = false;
  for (size_t i = 0; i < report.models.size(); ++i) {
    const double share =
        ModelWatts(watts, BusyCores(report.models[i]), busy, observation.host.machine_busy_cores);
    TickModel(observation, observation.models[i], report.models[i], share);
  }
  std::erase_if(served_, [](const auto& entry) { return !entry.second.seen; });
  Keep();
}

void PowerGovernor::TickServer(const Observation& observation, const AnalysisReport& report,
                               double watts) {
  double rows_per_s = 0;
  for (const ModelReport& model : report.models) rows_per_s += model.rows_per_s;
  const auto step =
      server_.Tick({.now_ns = observation.now_ns,
                    .window_begin_ns = observation.now_ns - options_.window_ns,
                    .watts = watts,
                    .joules_per_row = watts > 0 && rows_per_s > 0 ? watts / rows_per_s : -1,
                    .rows_per_s = rows_per_s});
  if (step) LogInfo(absl::StrCat("power server level=", step->level, ": ", step->reason));
}

void PowerGovernor::Follow(const ModelWindow& window) {
  const Key key{window.facts.name, window.facts.version};
  const auto found = served_.find(key);
  if (found != served_.end() && found->second.loaded_ns == window.facts.loaded_ns) {
    found->second.seen = true;
    return;
  }
  // Loaded, perhaps anew: its controls are as configured, and its wishes may be others.
  PowerWish wish = window.objective.power;
  if (!wish.any()) wish.efficiency = options_.server.efficiency;
  served_.erase(key);
  served_.emplace(
      key,
      Served{.climber = PowerClimber(wish), .loaded_ns = window.facts.loaded_ns, .seen = true});
}

void PowerGovernor::TickModel(const Observation& observation, const ModelWindow& window,
                              const ModelReport& report, double watts) {
  Follow(window);
  Served& served = served_.at({window.facts.name, window.facts.version});
  served.watts = watts;
  const auto step = served.climber.Tick(
      {.now_ns = observation.now_ns,
       .window_begin_ns = window.begin_ns,
       .watts = watts,
       .joules_per_row = watts > 0 && report.rows_per_s > 0 ? watts / report.rows_per_s : -1,
       .rows_per_s = report.rows_per_s,
       .p99_ms = report.latency.p99_ms,
       .objective_ms = window.objective.p99_ms});
  if (served.climber.wish().efficiency) {
    sink_.PreferEnergy(window.facts.name, window.facts.version,
                       CpuWatts(observation.host.machine_busy_cores), DeviceWatts());
  }
  served.level = std::max(server_.level(), served.climber.level());
  if (served.level == 0 && !served.changed) return;
  const double longest_run_ms =
      report.line.a_ms + report.line.b_ms * static_cast<double>(window.configured.max_rows);
  const ModelControls controls = SavingControls(
      window.configured, served.level, DelayBudget(window.objective.p99_ms, longest_run_ms));
  ModelControls wanted = window.controls;
  wanted.max_rows = controls.max_rows;
  wanted.max_delay_ns = controls.max_delay_ns;
  wanted.instances = controls.instances;
  served.changed = served.level > 0;
  if (Same(wanted, window.controls)) return;
  const absl::Status status = sink_.Apply(window.facts.name, window.facts.version, wanted);
  if (!status.ok() || !step) return;
  LogInfo(absl::StrFormat(
      "power model='%s' version=%d level=%d instances %d -> %d delay_us %d -> "
      "%d: %s",
      window.facts.name, window.facts.version, served.level, window.controls.instances,
      wanted.instances, window.controls.max_delay_ns / 1000, wanted.max_delay_ns / 1000,
      step->reason));
}

double PowerGovernor::CpuWatts(double busy_cores) const {
  for (const SourceWatts& source : meter_.Watts()) {
    // A batch on one CPU, with its part of what is drawn anyway.
    if (source.source != EnergySource::kNvml) return source.watts / std::max(busy_cores, 1.0);
  }
  return 0;
}

double PowerGovernor::DeviceWatts() const {
  for (const SourceWatts& source : meter_.Watts()) {
    if (source.source == EnergySource::kNvml) return source.watts;
  }
  return 0;
}

void PowerGovernor::Keep() {
  std::vector<MetricPoint> points;
  const std::vector<SourceWatts> sources = meter_.Watts();
  points.reserve(2 * sources.size());
  for (const SourceWatts& source : sources) {
    points.push_back(Gauge("bitmill_power_watts", "Power of the last seconds.",
                           {{"source", EnergySourceName(source.source)}}, source.watts));
  }
  for (const SourceWatts& source : sources) {
    points.push_back(Gauge("bitmill_power_uncertainty_watts",
                           "By how much bitmill_power_watts may be off, either way.",
                           {{"source", EnergySourceName(source.source)}}, source.uncertainty));
  }
  if (options_.server.max_watts > 0) {
    points.push_back(Gauge("bitmill_power_limit_watts", "What the machine is to stay below.", {},
                           options_.server.max_watts));
    points.push_back(Gauge("bitmill_power_limit_missed",
                           "1 while the machine draws more than its limit and nothing is left to "
                           "slow down.",
                           {}, server_.at_wits_end() ? 1 : 0));
  }
  const auto each = [&](const char* name, const char* help, auto value) {
    for (const auto& [key, served] : served_) {
      const double number = value(served);
      if (number < 0) continue;
      points.push_back(
          Gauge(name, help, {{"model", key.first}, {"version", absl::StrCat(key.second)}}, number));
    }
  };
  each("bitmill_model_power_watts",
       "The model's part of the machine's power, by the busy time of its workers.",
       [](const Served& served) { return served.watts; });
  each("bitmill_model_joules_per_row", "Energy of a row, idle power included, in the last seconds.",
       [](const Served& served) { return served.climber.joules_per_row_now(); });
  each("bitmill_model_joules_per_row_before",
       "The same, last seen with the settings as configured.",
       [](const Served& served) { return served.climber.joules_per_row_before(); });
  each("bitmill_model_power_level",
       "How far the model is slowed down to save power: 0 as configured, 4 as far as it goes.",
       [](const Served& served) { return static_cast<double>(served.level); });
  each("bitmill_model_power_limit_missed",
       "1 while the model draws more than its limit and cannot be slowed down further.",
       [](const Served& served) {
         if (served.climber.wish().max_watts <= 0) return -1.0;
         return served.climber.at_wits_end() ? 1.0 : 0.0;
       });
  const MutexLock lock(&mutex_);
  metrics_ = std::move(points);
}

std::vector<MetricPoint> PowerGovernor::Metrics() const {
  const MutexLock lock(&mutex_);
  return metrics_;
}

}  // namespace bitmill
