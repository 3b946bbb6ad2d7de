#include "bench/analysis/adaptation_scenarios.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/analysis/tuning_policy.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6;
constexpr double kNanosPerSecond = 1e9;
constexpr double kRampFrom = 0.2, kRampTo = 2.0;
constexpr double kStepLow = 0.5, kStepHigh = 1.5;
constexpr double kQuiet = 0.4, kQuietSeconds = 4, kBurst = 1.8, kBurstSeconds = 1.5;

double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1.0p-53; }
double Exponential(std::mt19937_64& random, double mean) {
  return -mean * std::log(1 - Uniform(random));
}

// The load at each time of a scenario, as a share of capacity.
class Load {
 public:
  Load(const Scenario& scenario, std::mt19937_64& random) : scenario_(scenario) {
    bool burst = false;
    for (double at = 0; at < scenario.seconds; burst = !burst) {
      at += Exponential(random, burst ? kBurstSeconds : kQuietSeconds);
      switches_.push_back(at);
    }
  }
  double At(double seconds) const {
    const double part = seconds / scenario_.seconds;
    switch (scenario_.shape) {
      case LoadShape::kSteady:
        return scenario_.load;
      case LoadShape::kRamp:
        return kRampFrom + (kRampTo - kRampFrom) * part;
      case LoadShape::kStep:
        return part >= 1.0 / 3 && part < 2.0 / 3 ? kStepHigh : kStepLow;
      case LoadShape::kBurst: {
        const auto next = std::upper_bound(switches_.begin(), switches_.end(), seconds);
        return (next - switches_.begin()) % 2 == 0 ? kQuiet : kBurst;
      }
    }
    return 0;
  }

 private:
  const Scenario& scenario_;
  std::vector<double> switches_;  // from quiet, from burst, ...
};

// Poisson by thinning a process at the highest rate.
std::vector<ReplayRequest> Arrivals(const Scenario& scenario, double rows_per_s, uint64_t seed) {
  std::mt19937_64 random(seed);
  const Load load(scenario, random);
  const double highest = std::max(kRampTo, scenario.load);
  std::vector<ReplayRequest> arrivals;
  for (double at = Exponential(random, 1 / (highest * rows_per_s)); at < scenario.seconds;
       at += Exponential(random, 1 / (highest * rows_per_s))) {
    if (Uniform(random) * highest > load.At(at)) continue;
    arrivals.push_back({.arrive_ns = static_cast<MonotonicNanos>(at * kNanosPerSecond), .rows = 1});
  }
  return arrivals;
}

SimSetup SetupOf(const Scenario& scenario,
                 const std::vector<std::vector<ReplayRequest>>& arrivals) {
  return {.workers = scenario.workers,
          .models = scenario.models,
          .arrivals = arrivals,
          .seconds = scenario.seconds,
          .policy = SimPolicy::kFixed,
          .seed = scenario.seed};
}

void AddShapes(const SimModel& model, double seconds, std::vector<Scenario>& all) {
  Scenario scenario{.name = {}, .workers = WorkersOf(model), .models = {model}};
  scenario.seconds = seconds;
  const auto add = [&](const char* name, LoadShape shape) {
    scenario.name = absl::StrCat(model.name, " ", name);
    scenario.shape = shape;
    scenario.seed = all.size() + 1;
    all.push_back(scenario);
  };
  add("ramp", LoadShape::kRamp);
  add("step", LoadShape::kStep);
  add("burst", LoadShape::kBurst);
}

}  // namespace

std::vector<SimModel> ScenarioModels() {
  SimModel small{.name = "small", .service = {.a_ms = 0.5, .b_ms = 0.4}, .objective_ms = 10};
  small.configured = {.max_rows = 32};
  SimModel medium{.name = "medium", .service = {.a_ms = 1, .b_ms = 0.9}, .objective_ms = 50};
  medium.configured = {.max_rows = 32, .max_delay_ns = 5'000'000};
  SimModel large{.name = "large",
                 .service = {.a_ms = 8, .b_ms = 1.5, .step = 4, .contention = 0.3},
                 .objective_ms = 120};
  large.configured = {.max_rows = 64, .instances = 2};
  return {small, medium, large};
}

int WorkersOf(const SimModel& model) { return model.configured.instances; }

double CapacityOf(const SimModel& model) {
  const int instances = model.configured.instances;
  const double factor = 1 + model.service.contention * (instances - 1);
  const ServiceLine line{.a_ms = model.service.a_ms * factor, .b_ms = model.service.b_ms * factor};
  const auto target_ns = static_cast<int64_t>(model.objective_ms * kNanosPerMilli);
  const int64_t rows = LargestBatchInTime(line, target_ns, instances, model.configured.max_rows);
  const auto n = static_cast<double>(rows);
  return instances * n * 1e3 / (line.a_ms + line.b_ms * n);
}

std::vector<Scenario> AdaptationScenarios(bool quick) {
  std::vector<Scenario> all;
  const double seconds = quick ? 30 : 60;
  const std::vector<SimModel> models = ScenarioModels();
  const std::vector<double> loads = quick ? std::vector<double>{0.5, 1.0, 2.0}
                                          : std::vector<double>{0.2, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0};
  for (const SimModel& model : models) {
    if (quick && model.name != "medium") continue;
    for (const double load : loads) {
      all.push_back({.name = absl::StrFormat("%s %.1f", model.name, load),
                     .workers = WorkersOf(model),
                     .models = {model},
                     .shape = LoadShape::kSteady,
                     .load = load,
                     .seconds = seconds,
                     .seed = all.size() + 1});
    }
    AddShapes(model, seconds, all);
  }
  if (quick) return all;
  for (const double load : {0.7, 1.4}) {
    all.push_back({.name = absl::StrFormat("mixed %.1f", load),
                   .workers = 1,
                   .models = {models[0], models[1]},
                   .shape = LoadShape::kSteady,
                   .load = load,
                   .seconds = seconds,
                   .seed = all.size() + 1});
  }
  return all;
}

std::vector<std::vector<ReplayRequest>> ArrivalsOf(const Scenario& scenario) {
  std::vector<std::vector<ReplayRequest>> arrivals;
  for (size_t i = 0; i < scenario.models.size(); ++i) {
    const double share = 1.0 / static_cast<double>(scenario.models.size());
    arrivals.push_back(
        Arrivals(scenario, CapacityOf(scenario.models[i]) * share, scenario.seed * 1000 + i));
  }
  return arrivals;
}

std::vector<Setting> UsualSettings(const SimModel& model) {
  const int64_t largest = model.configured.max_rows;
  const auto of = [&](const char* name, int64_t rows, double delay_ms) {
    Setting setting{.name = name, .controls = model.configured, .preferred_rows = {}};
    setting.controls.max_rows = rows;
    setting.controls.max_delay_ns = static_cast<MonotonicNanos>(delay_ms * kNanosPerMilli);
    return setting;
  };
  std::vector<Setting> settings = {of("8, no delay", 8, 0),
                                   of("8, 1 ms", 8, 1),
                                   of("8, 5 ms", 8, 5),
                                   of("largest, no delay", largest, 0),
                                   of("largest, 5 ms", largest, 5),
                                   of("preferred 4, 8, 5 ms", largest, 5)};
  settings.back().preferred_rows = {4, 8};
  return settings;
}

std::vector<Setting> GridOf(const SimModel& model, bool coarse) {
  const auto objective_ns = model.objective_ms * kNanosPerMilli;
  const auto in_time = static_cast<int64_t>(CapacityOf(model) * model.objective_ms * 1e-3);
  std::vector<int64_t> rows;
  for (int64_t n = coarse ? 8 : 1; n <= model.configured.max_rows; n *= 2) rows.push_back(n);
  if (!coarse) {
    for (const int64_t n : {12, 24, 48}) {
      if (n < model.configured.max_rows) rows.push_back(n);
    }
  }
  const std::vector<double> delays =
      coarse ? std::vector<double>{0} : std::vector<double>{0, 0.04, 0.15};
  const std::vector<double> admits =
      coarse ? std::vector<double>{0, 0.9, 0.97} : std::vector<double>{0, 0.8, 0.9, 0.95, 1};
  std::vector<Setting> grid;
  for (const int64_t n : rows) {
    for (const double delay : delays) {
      for (int instances = 1; instances <= model.configured.instances; ++instances) {
        for (size_t a = 0; a < admits.size() + 2; ++a) {
          Setting setting{.name = {}, .controls = model.configured, .preferred_rows = {}};
          ModelControls& controls = setting.controls;
          controls.max_rows = n;
          controls.max_delay_ns = static_cast<MonotonicNanos>(delay * objective_ns);
          controls.instances = instances;
          if (a < admits.size()) {
            controls.admit_within_ns = static_cast<MonotonicNanos>(admits[a] * objective_ns);
          } else {
            controls.max_queue_requests =
                std::max<int64_t>(in_time / (a == admits.size() ? 1 : 2), 1);
          }
          setting.name =
              absl::StrFormat("rows %d, delay %.1f ms, instances %d, queue %d, admit %.1f ms", n,
                              static_cast<double>(controls.max_delay_ns) / kNanosPerMilli,
                              instances, controls.max_queue_requests,
                              static_cast<double>(controls.admit_within_ns) / kNanosPerMilli);
          grid.push_back(std::move(setting));
        }
      }
    }
  }
  return grid;
}

SimOutcome RunFixed(const Scenario& scenario,
                    const std::vector<std::vector<ReplayRequest>>& arrivals,
                    const std::vector<Setting>& settings) {
  SimSetup setup = SetupOf(scenario, arrivals);
  for (size_t i = 0; i < setup.models.size(); ++i) {
    const Setting& setting = settings[std::min(i, settings.size() - 1)];
    setup.models[i].configured = setting.controls;
    setup.models[i].preferred_rows = setting.preferred_rows;
  }
  return Simulate(setup);
}

SimOutcome RunPolicy(const Scenario& scenario,
                     const std::vector<std::vector<ReplayRequest>>& arrivals, SimPolicy policy) {
  SimSetup setup = SetupOf(scenario, arrivals);
  setup.policy = policy;
  return Simulate(setup);
}

Oracle FindOracle(const Scenario& scenario, const std::vector<std::vector<ReplayRequest>>& arrivals,
                  bool coarse) {
  Oracle best;
  // Of several models: one after the other, the others at the best that was found for them.
  std::vector<Setting> chosen;
  for (const SimModel& model : scenario.models) {
    chosen.push_back({.name = "as configured", .controls = model.configured, .preferred_rows = {}});
  }
  const int passes = scenario.models.size() > 1 ? 2 : 1;
  for (int pass = 0; pass < passes; ++pass) {
    for (size_t i = 0; i < scenario.models.size(); ++i) {
      for (const Setting& setting : GridOf(scenario.models[i], coarse || passes > 1)) {
        std::vector<Setting> tried = chosen;
        tried[i] = setting;
        SimOutcome outcome = RunFixed(scenario, arrivals, tried);
        if (outcome.good_rows <= best.outcome.good_rows) continue;
        best.outcome = std::move(outcome);
        chosen = tried;
      }
    }
  }
  best.setting = absl::StrJoin(
      chosen, "; ", [](std::string* out, const Setting& setting) { out->append(setting.name); });
  return best;
}

}  // namespace bitmill
