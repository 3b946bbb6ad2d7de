#include "tests/support/simulation/warning_scenarios.h"

#include <algorithm>
#include <cmath>

#include "server/analysis/capacity.h"

namespace bitmill {
namespace {

constexpr int kSustained = 3;       // seconds that miss the objective
constexpr int kGap = 5;             // seconds without alarm that do not end one
constexpr int kWarmUp = 20;         // seconds before alarms count
constexpr double kFollowed = 0.15;  // relative distance
constexpr int kHorizon = 30;
constexpr double kTurn = 6.283185307179586;

// Bursts of a second: when each begins and by how much the load is multiplied.
struct Burst {
  double at = 0, factor = 1;
};

std::vector<Burst> DrawBursts(RandomNumbers& random, double until, double every, double least,
                              double most) {
  std::vector<Burst> bursts;
  double at = 0;
  while ((at += 1 + every * random.Exponential()) < until) {
    bursts.push_back({.at = at, .factor = random.Uniform(least, most)});
  }
  return bursts;
}

double BurstAt(const std::vector<Burst>& bursts, double seconds) {
  for (const Burst& burst : bursts) {
    if (seconds >= burst.at && seconds < burst.at + 1) return burst.factor;
  }
  return 1;
}

// What a run is: its load over time, when the change begins, how long it lasts.
struct Plan {
  SimulationOptions options = {};
  SimulatedModel::Rate rate = {};
  double most_rate = 0;
  double change_at = 0;  // seconds
  int seconds = 0;
  bool quiet_until_the_end = false;
};

struct Trace {
  std::vector<std::array<bool, kSignals>> alarms;
  std::vector<double> tick_p99_ms, rates, low, high, saturation;
  std::vector<bool> capacity_lost;
};

Trace Simulate(const Plan& plan) {
  SimulatedModel model(plan.options, plan.rate, plan.most_rate);
  WarningSignals signals;
  Trace trace;
  for (int second = 0; second < plan.seconds; ++second) {
    const SimulatedTick tick = model.Next();
    trace.alarms.push_back(signals.Update(tick));
    trace.tick_p99_ms.push_back(tick.tick_p99_ms);
    trace.rates.push_back(static_cast<double>(tick.window.tick_arrived_rows));
    trace.low.push_back(signals.forecast().demand_ahead_low);
    trace.high.push_back(signals.forecast().demand_ahead_high);
    trace.saturation.push_back(signals.predictor().saturation_rows_per_s());
    trace.capacity_lost.push_back(signals.Holds(WarningReason::kCapacityLost));
  }
  return trace;
}

// The end of the first of three seconds on end that miss the objective, from `from`; -1: none.
double SaturatedAt(const Trace& trace, double from, double objective_ms) {
  int missed = 0;
  for (auto i = static_cast<size_t>(from); i < trace.tick_p99_ms.size(); ++i) {
    missed = trace.tick_p99_ms[i] > objective_ms ? missed + 1 : 0;
    if (missed == kSustained) return static_cast<double>(i + 1) - kSustained + 1;
  }
  return -1;
}

// The alarms of the second i are known at its end, i + 1.
void MeasureLead(const Trace& trace, const Plan& plan, size_t signal, double saturated,
                 SignalOutcome* outcome) {
  const auto end = static_cast<size_t>(saturated);
  int gap = 0;
  for (size_t i = 0; i < end && i < trace.alarms.size(); ++i) {
    const auto at = static_cast<double>(i + 1);
    const bool on = trace.alarms[i][signal];
    if (on && at > plan.change_at && outcome->lead_seconds < 0) {
      outcome->lead_seconds = saturated - at;
    }
    gap = on ? 0 : gap + 1;
    if (gap > kGap) outcome->steady_lead_seconds = -1;
    if (on && at > plan.change_at && outcome->steady_lead_seconds < 0) {
      outcome->steady_lead_seconds = saturated - at;
    }
  }
}

ScenarioOutcome Measure(const Plan& plan) {
  const Trace trace = Simulate(plan);
  const double objective = plan.options.objective.p99_ms;
  ScenarioOutcome outcome;
  const double quiet = plan.quiet_until_the_end ? plan.seconds : plan.change_at;
  if (!plan.quiet_until_the_end) {
    outcome.saturated_seconds = SaturatedAt(trace, plan.change_at, objective);
  }
  for (int i = kWarmUp; i + 1 <= static_cast<int>(quiet); ++i) {
    const auto at = static_cast<size_t>(i);
    if (trace.tick_p99_ms[at] > objective) continue;  // no alarm would be false
    ++outcome.quiet_seconds;
    for (size_t s = 0; s < kSignals; ++s) outcome.signals[s].false_seconds += trace.alarms[at][s];
  }
  for (size_t s = 0; s < kSignals && !plan.quiet_until_the_end; ++s) {
    if (outcome.saturated_seconds >= 0) {
      MeasureLead(trace, plan, s, outcome.saturated_seconds, &outcome.signals[s]);
    }
    for (size_t i = static_cast<size_t>(plan.change_at); i < trace.alarms.size(); ++i) {
      if (!trace.alarms[i][s]) continue;
      outcome.signals[s].detect_seconds = static_cast<double>(i + 1) - plan.change_at;
      break;
    }
  }
  for (size_t i = kWarmUp; i + kHorizon < trace.rates.size(); ++i) {
    const double later = trace.rates[i + kHorizon];
    outcome.covered += later >= trace.low[i] && later <= trace.high[i];
    ++outcome.forecasts;
  }
  const double after = SaturationRowsPerSecond(plan.options.line, plan.options.controls.max_rows,
                                               plan.options.controls.instances) *
                       plan.options.slow_down.speed;
  for (size_t i = trace.saturation.size(); i-- > 0;) {
    if (std::abs(trace.saturation[i] / after - 1) > kFollowed) break;
    outcome.follow_seconds = static_cast<double>(i + 1) - plan.change_at;
  }
  for (size_t i = static_cast<size_t>(plan.change_at); i < trace.capacity_lost.size(); ++i) {
    if (!trace.capacity_lost[i]) continue;
    outcome.told_seconds = static_cast<double>(i + 1) - plan.change_at;
    break;
  }
  return outcome;
}

SimulationOptions OptionsOf(uint64_t seed) {
  SimulationOptions options{.seed = seed * 7919 + 1};
  options.line.samples = 1;
  return options;
}

}  // namespace

double TrueCapacity(const SimulationOptions& options) {
  LatencyCurve curve(ShapeOf(options.line, options.controls));
  const auto rows = static_cast<double>(options.controls.max_rows);
  const double full_ms = options.line.a_ms + options.line.b_ms * rows;
  return curve.LoadWithin(options.objective.p99_ms / full_ms) *
         SaturationRowsPerSecond(options.line, options.controls.max_rows,
                                 options.controls.instances);
}

ScenarioOutcome RunRamp(uint64_t seed) {
  RandomNumbers random(seed);
  Plan plan{.options = OptionsOf(seed)};
  const double capacity = TrueCapacity(plan.options);
  const double from = random.Uniform(0.3, 0.6), to = 1.25;
  plan.change_at = 60 + random.Uniform();
  const double lasts = random.Uniform(90, 200);
  plan.seconds = static_cast<int>(plan.change_at + lasts) + 10;
  const auto bursts = DrawBursts(random, plan.seconds, 20, 1.2, 1.5);
  plan.rate = [=, at = plan.change_at](double seconds) {
    const double share = std::clamp((seconds - at) / lasts, 0.0, 1.0);
    return capacity * (from + share * (to - from)) * BurstAt(bursts, seconds);
  };
  plan.most_rate = capacity * to * 1.5;
  return Measure(plan);
}

ScenarioOutcome RunStationary(uint64_t seed) {
  RandomNumbers random(seed);
  Plan plan{.options = OptionsOf(seed), .seconds = 300, .quiet_until_the_end = true};
  const double capacity = TrueCapacity(plan.options);
  const double load = random.Uniform(0.55, 0.78), swing = random.Uniform(0.03, 0.08);
  const double period = random.Uniform(60, 180), phase = random.Uniform();
  const auto bursts = DrawBursts(random, plan.seconds, 20, 1.2, 1.5);
  plan.rate = [=](double seconds) {
    const double sine = std::sin(kTurn * (seconds / period + phase));
    return capacity * load * (1 + swing * sine) * BurstAt(bursts, seconds);
  };
  plan.most_rate = capacity * load * 1.1 * 1.5;
  return Measure(plan);
}

ScenarioOutcome RunStep(uint64_t seed) {
  RandomNumbers random(seed);
  Plan plan{.options = OptionsOf(seed), .seconds = 90};
  const double capacity = TrueCapacity(plan.options);
  const double from = random.Uniform(0.3, 0.6), to = random.Uniform(1.15, 1.6);
  plan.change_at = 60 + random.Uniform();
  plan.rate = [=, at = plan.change_at](double seconds) {
    return capacity * (seconds < at ? from : to);
  };
  plan.most_rate = capacity * to;
  return Measure(plan);
}

ScenarioOutcome RunCapacityLoss(uint64_t seed, bool quota) {
  RandomNumbers random(seed);
  Plan plan{.options = OptionsOf(seed), .seconds = 90};
  const double load = TrueCapacity(plan.options) * random.Uniform(0.3, 0.4);
  plan.change_at = 45 + random.Uniform();
  plan.options.slow_down = {.kind = quota ? SlowDown::Kind::kQuota : SlowDown::Kind::kSlower,
                            .at_seconds = plan.change_at,
                            .speed = 0.5};
  plan.rate = [load](double) { return load; };
  plan.most_rate = load;
  return Measure(plan);
}

ScenarioOutcome RunTides(uint64_t seed) {
  RandomNumbers random(seed);
  Plan plan{.options = OptionsOf(seed), .seconds = 2400, .quiet_until_the_end = true};
  const double capacity = TrueCapacity(plan.options);
  const auto bursts = DrawBursts(random, plan.seconds, 20, 1.2, 1.5);
  struct Corner {
    double at = 0, share = 0;
  };
  std::vector<Corner> corners = {{0, random.Uniform(0.3, 0.6)}};
  while (corners.back().at < plan.seconds) {
    const Corner from = corners.back();
    const Corner rest{from.at + random.Uniform(30, 180), from.share};
    const double share = random.Uniform(0.2, 0.9);
    corners.push_back(rest);
    corners.push_back({rest.at + random.Uniform(90, 200), share});
  }
  plan.rate = [=](double seconds) {
    size_t next = 1;
    while (next + 1 < corners.size() && corners[next].at < seconds) ++next;
    const Corner& a = corners[next - 1];
    const Corner& b = corners[next];
    const double part = std::clamp((seconds - a.at) / (b.at - a.at), 0.0, 1.0);
    return capacity * (a.share + part * (b.share - a.share)) * BurstAt(bursts, seconds);
  };
  plan.most_rate = capacity * 0.9 * 1.5;
  return Measure(plan);
}

LatencyOutcome RunSteady(const SteadyLoad& steady) {
  SimulationOptions options = OptionsOf(steady.seed);
  options.controls.instances = steady.instances;
  options.controls.max_rows = steady.max_rows;
  options.line.a_ms = steady.full_ms * steady.share_a;
  options.line.b_ms =
      steady.full_ms * (1 - steady.share_a) / static_cast<double>(options.controls.max_rows);
  const double rate = steady.load * SaturationRowsPerSecond(options.line, options.controls.max_rows,
                                                            steady.instances);
  SimulatedModel model(
      options, [rate](double) { return rate; }, rate);
  WarningSignals signals;
  std::vector<double> latencies, predicted;
  constexpr int kSeconds = 120;
  for (int second = 0; second < kSeconds; ++second) {
    const SimulatedTick tick = model.Next();
    signals.Update(tick);
    if (second < kWarmUp) continue;
    predicted.push_back(signals.forecast().predicted_p99_ms);
    for (const RequestRecord& request : tick.window.requests) {
      if (request.received_ns + request.total_ns > tick.window.tick_begin_ns) {
        latencies.push_back(static_cast<double>(request.total_ns) * 1e-6);
      }
    }
  }
  return {.load = steady.load,
          .predicted_ms = QuantileOf(predicted, 0.5),
          .simulated_ms = QuantileOf(std::move(latencies), 0.99)};
}

SignalSummary Summarize(Signal signal, const std::vector<ScenarioOutcome>& ramps,
                        const std::vector<ScenarioOutcome>& stationary,
                        const std::vector<ScenarioOutcome>& steps) {
  const auto s = static_cast<size_t>(signal);
  SignalSummary summary{.runs = static_cast<int>(ramps.size())};
  std::vector<double> leads, steady, detects;
  double quiet = 0, wrong = 0;
  for (const ScenarioOutcome& run : ramps) {
    const SignalOutcome& outcome = run.signals[s];
    summary.missed += outcome.lead_seconds < 0;
    leads.push_back(std::max(outcome.lead_seconds, 0.0));
    steady.push_back(std::max(outcome.steady_lead_seconds, 0.0));
  }
  for (const auto* runs : {&ramps, &stationary}) {
    for (const ScenarioOutcome& run : *runs) {
      quiet += run.quiet_seconds;
      wrong += run.signals[s].false_seconds;
    }
  }
  for (const ScenarioOutcome& run : steps) {
    const double seconds = run.signals[s].detect_seconds;
    detects.push_back(seconds < 0 ? 1e9 : seconds);
  }
  summary.median_lead = QuantileOf(leads, 0.5);
  summary.p10_lead = QuantileOf(std::move(leads), 0.1);
  summary.median_steady_lead = QuantileOf(std::move(steady), 0.5);
  summary.false_share = quiet > 0 ? wrong / quiet : 0;
  summary.median_detect = QuantileOf(detects, 0.5);
  summary.worst_detect = QuantileOf(std::move(detects), 1);
  return summary;
}

double QuantileOf(std::vector<double> values, double quantile) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = std::clamp(quantile, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace bitmill
