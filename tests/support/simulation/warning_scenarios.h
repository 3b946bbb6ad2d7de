// The loads that the warnings are measured on, and what comes out. Loads are shares of the capacity
// within the objective; each seed draws its own load, slope, phase, bursts. See docs/analysis.md
// for the table.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tests/support/simulation/warning_signals.h"

namespace bitmill {

// Of a run: what each signal did. -1: it did not happen.
struct SignalOutcome {
  double lead_seconds = -1;  // from its first alarm in the ramp until the objective is missed
  double steady_lead_seconds = -1;  // the same, from where it stays on (but for 5 s) until then
  int false_seconds = 0;            // of alarm
  double detect_seconds = -1;       // from a step to the alarm
};

struct ScenarioOutcome {
  std::array<SignalOutcome, kSignals> signals;
  int quiet_seconds = 0;          // in which an alarm is false
  double saturated_seconds = -1;  // when the objective was missed for three seconds on end
  double follow_seconds = -1;  // until the fitted capacity was within 15 % of the new one, to stay
  double told_seconds = -1;    // until capacity_lost was told
  int covered = 0, forecasts = 0;  // demands 30 s later, within the 90 % interval; of how many
};

// A minute or more of steady load of 0.3 to 0.6, with bursts of a second, which then rises to 1.25
// within 90 to 200 s.
ScenarioOutcome RunRamp(uint64_t seed);
// Five minutes of a load of 0.55 to 0.78 with a slow sine of 3 to 8 % and bursts of a second of 1.2
// to 1.5 times the load, about every 20 s. Every alarm is false, but in seconds that miss the
// objective.
ScenarioOutcome RunStationary(uint64_t seed);
// From 0.3 to 0.6 to 1.15 to 1.6 at once, at any part of a second.
ScenarioOutcome RunStep(uint64_t seed);
// A load of 0.3 to 0.4, and then a machine of half the speed; by a quota of 50 ms in 100 ms if
// `quota`.
ScenarioOutcome RunCapacityLoss(uint64_t seed, bool quota);

// Forty minutes of hours: the load goes back and forth between levels of 0.2 to 0.9, at slopes as
// those of a ramp, and rests a while on each; with bursts.
ScenarioOutcome RunTides(uint64_t seed);

// The predicted p99 against that of the simulation.
struct LatencyOutcome {
  double load = 0;  // of saturation
  double predicted_ms = 0, simulated_ms = 0;
};
struct SteadyLoad {
  uint64_t seed = 1;
  double load = 0.5;  // of saturation
  int instances = 1;
  double share_a = 0.5;  // of the time of a full execution
  double full_ms = 30;   // that time
  int64_t max_rows = 32;
};
// Two minutes of Poisson arrivals.
LatencyOutcome RunSteady(const SteadyLoad& steady);

// Rows per second of the simulated model within its objective, by its true line.
double TrueCapacity(const SimulationOptions& options);

// Over runs.
struct SignalSummary {
  int runs = 0, missed = 0;
  double median_lead = 0, p10_lead = 0, median_steady_lead = 0;  // seconds
  double false_share = 0;                                        // of quiet seconds
  double median_detect = 0, worst_detect = 0;                    // seconds
};
SignalSummary Summarize(Signal signal, const std::vector<ScenarioOutcome>& ramps,
                        const std::vector<ScenarioOutcome>& stationary,
                        const std::vector<ScenarioOutcome>& steps);

// In 0..1, linear between the values; 0 of none.
double QuantileOf(std::vector<double> values, double quantile);

}  // namespace bitmill
