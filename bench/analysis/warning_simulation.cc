// Measures the warnings in simulation (tests/support/simulation/warning_scenarios.h) beside what
// one would alert on otherwise, and writes one JSON object to standard output; bench/warning.py
// makes the table.
//
//   bitmill_warning_simulation [--seeds N]
//
// Exit status 2 for misuse. Deterministic; about 0.5 s of CPU for each of five runs of a seed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "tests/support/simulation/warning_scenarios.h"
#include "tools/text/json_writer.h"

namespace bitmill {
namespace {

constexpr int kSeeds = 12;

void WriteSignal(Signal signal, const std::vector<ScenarioOutcome>& ramps,
                 const std::vector<ScenarioOutcome>& stationary,
                 const std::vector<ScenarioOutcome>& steps, JsonWriter& json) {
  const SignalSummary summary = Summarize(signal, ramps, stationary, steps);
  json.BeginObject();
  json.Key("signal").String(kSignalNames[static_cast<size_t>(signal)]);
  json.Key("ramps").Int(summary.runs);
  json.Key("missed").Int(summary.missed);
  json.Key("median_lead_seconds").Double(summary.median_lead);
  json.Key("p10_lead_seconds").Double(summary.p10_lead);
  json.Key("median_steady_lead_seconds").Double(summary.median_steady_lead);
  json.Key("false_alarm_share").Double(summary.false_share);
  json.Key("median_step_seconds").Double(summary.median_detect);
  json.Key("worst_step_seconds").Double(summary.worst_detect);
  json.EndObject();
}

void WriteFollow(const char* name, const std::vector<ScenarioOutcome>& runs, JsonWriter& json) {
  std::vector<double> follow, told;
  for (const ScenarioOutcome& run : runs) {
    follow.push_back(run.follow_seconds < 0 ? INFINITY : run.follow_seconds);
    told.push_back(run.told_seconds < 0 ? INFINITY : run.told_seconds);
  }
  json.Key(name).BeginObject();
  json.Key("median_follow_seconds").Double(QuantileOf(follow, 0.5));
  json.Key("worst_follow_seconds").Double(QuantileOf(follow, 1));
  json.Key("median_told_seconds").Double(QuantileOf(told, 0.5));
  json.Key("worst_told_seconds").Double(QuantileOf(told, 1));
  json.EndObject();
}

// `about`: all but load and seed.
void WriteLatency(const SteadyLoad& about, int seeds, JsonWriter& json) {
  for (const double load : {0.3, 0.5, 0.7, 0.8, 0.88}) {
    std::vector<double> errors, predicted, simulated;
    for (int seed = 1; seed <= seeds; ++seed) {
      SteadyLoad steady = about;
      steady.seed = static_cast<uint64_t>(seed);
      steady.load = load;
      const LatencyOutcome outcome = RunSteady(steady);
      errors.push_back(outcome.predicted_ms / outcome.simulated_ms - 1);
      predicted.push_back(outcome.predicted_ms);
      simulated.push_back(outcome.simulated_ms);
    }
    json.BeginObject();
    json.Key("instances").Int(about.instances).Key("share_a").Double(about.share_a);
    json.Key("full_ms").Double(about.full_ms).Key("max_rows").Int(about.max_rows);
    json.Key("load").Double(load);
    json.Key("predicted_ms").Double(QuantileOf(predicted, 0.5));
    json.Key("simulated_ms").Double(QuantileOf(simulated, 0.5));
    const auto worst = *std::max_element(
        errors.begin(), errors.end(), [](double x, double y) { return std::abs(x) < std::abs(y); });
    json.Key("worst_error").Double(worst);
    json.EndObject();
  }
}

void WriteLatencies(int seeds, JsonWriter& json) {
  json.Key("p99_prediction").BeginArray();
  for (const int instances : {1, 2}) {
    for (const double share_a : {0.05, 0.5}) {
      WriteLatency({.instances = instances, .share_a = share_a}, std::min(seeds, 3), json);
    }
  }
  json.EndArray();
  // Runs so short that a stall is the longest of what happens.
  json.Key("p99_prediction_stalls").BeginArray();
  for (const int instances : {1, 2}) {
    WriteLatency({.instances = instances, .share_a = 0.5, .full_ms = 1, .max_rows = 4},
                 std::min(seeds, 6), json);
  }
  json.EndArray();
}

double Coverage(const std::vector<ScenarioOutcome>& runs) {
  double covered = 0, forecasts = 0;
  for (const ScenarioOutcome& run : runs) {
    covered += run.covered;
    forecasts += run.forecasts;
  }
  return forecasts > 0 ? covered / forecasts : 0;
}

void Run(int seeds) {
  std::vector<ScenarioOutcome> ramps, stationary, steps, slower, quota, tides;
  for (int i = 1; i <= seeds; ++i) {
    const auto seed = static_cast<uint64_t>(i);
    ramps.push_back(RunRamp(seed));
    stationary.push_back(RunStationary(seed));
    steps.push_back(RunStep(seed));
    slower.push_back(RunCapacityLoss(seed, false));
    quota.push_back(RunCapacityLoss(seed, true));
    tides.push_back(RunTides(seed));
  }
  JsonWriter json;
  json.BeginObject().Key("seeds").Int(seeds);
  json.Key("signals").BeginArray();
  for (int i = 0; i < kSignals; ++i) {
    WriteSignal(static_cast<Signal>(i), ramps, stationary, steps, json);
  }
  json.EndArray();
  WriteFollow("slower", slower, json);
  WriteFollow("quota", quota, json);
  json.Key("interval_coverage_ramp").Double(Coverage(ramps));
  json.Key("interval_coverage_stationary").Double(Coverage(stationary));
  json.Key("interval_coverage_tides").Double(Coverage(tides));
  WriteLatencies(seeds, json);
  json.EndObject();
  std::puts(json.text().c_str());
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) {
  int seeds = bitmill::kSeeds;
  const bool given = argc == 3 && std::strcmp(argv[1], "--seeds") == 0;
  if ((argc != 1 && !given) || (given && (!absl::SimpleAtoi(argv[2], &seeds) || seeds < 1))) {
    std::fputs("usage: bitmill_warning_simulation [--seeds N]\n", stderr);
    return 2;
  }
  bitmill::Run(seeds);
  return 0;
}
