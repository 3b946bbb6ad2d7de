// What the adaptation is judged on: models, loads relative to their capacity, and the settings that
// it is compared with.
#pragma once

#include <string>
#include <vector>

#include "bench/analysis/simulated_server.h"

namespace bitmill {

// A load as a share of capacity at each second, perhaps random.
enum class LoadShape : uint8_t {
  kSteady,
  kRamp,   // from 0.2 to 2.0
  kStep,   // 0.5, then 1.5, then 0.5, a third of the time each
  kBurst,  // switches between 0.4 (4 s on average) and 1.8 (1.5 s): a Markov-modulated process
};

struct Scenario {
  std::string name = {};
  int workers = 1;
  std::vector<SimModel> models = {};
  LoadShape shape = LoadShape::kSteady;
  double load = 1;  // of the capacity, all models together; kSteady
  double seconds = 60;
  uint64_t seed = 1;
};

// The models that are simulated alone: "small" (10 ms objective, one worker), "medium" (50 ms),
// "large" (120 ms, two workers that hinder one another, rows computed in fours).
std::vector<SimModel> ScenarioModels();
int WorkersOf(const SimModel& model);

// Rows a second that all workers serve in time with the largest batch that fits the objective.
double CapacityOf(const SimModel& model);

// Each model at 0.2 to 2.0 of its capacity, a ramp, a step, bursts; then small and medium together.
// `quick`: one model, fewer loads.
std::vector<Scenario> AdaptationScenarios(bool quick);

std::vector<std::vector<ReplayRequest>> ArrivalsOf(const Scenario& scenario);

struct Setting {
  std::string name = {};
  ModelControls controls;  // of each model
  std::vector<int64_t> preferred_rows = {};
};

// Settings as they are written for other servers: a batch of 8 or the largest, delays of 0, 1 and
// 5 ms, preferred sizes.
std::vector<Setting> UsualSettings(const SimModel& model);
// All that the oracle tries for a model: rows, delay, instances, queue, admission.
std::vector<Setting> GridOf(const SimModel& model, bool coarse);

// The scenario with every model at its setting of `settings` (one for each model, or one for all).
SimOutcome RunFixed(const Scenario& scenario,
                    const std::vector<std::vector<ReplayRequest>>& arrivals,
                    const std::vector<Setting>& settings);
SimOutcome RunPolicy(const Scenario& scenario,
                     const std::vector<std::vector<ReplayRequest>>& arrivals, SimPolicy policy);

struct Oracle {
  SimOutcome outcome;
  std::string setting;
};
// The best fixed settings, found by trying them all on the very same arrivals.
Oracle FindOracle(const Scenario& scenario, const std::vector<std::vector<ReplayRequest>>& arrivals,
                  bool coarse);

}  // namespace bitmill
