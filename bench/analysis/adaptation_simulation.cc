// Runs every scenario under the adaptation, the usual fixed settings, AIMD and the oracle, and
// writes what each answered in time as JSON: {"scenarios": [{...}]}. bench/adaptation.py prints it.
//
//   adaptation_simulation [--quick] [--seed N] [--only TEXT] [--changes]
//
// The whole takes some minutes of one core, --quick some seconds. Another --seed (0) is another
// draw of all arrivals and of the executions' luck. --only runs scenarios whose name has TEXT in
// it. --changes writes every change that the adaptation made to standard error.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "bench/analysis/adaptation_scenarios.h"

namespace bitmill {
namespace {

constexpr double kSettledSeconds = 15;  // changes later than this are made in a steady state
constexpr double kSteadySpan = 10;
constexpr double kRecoveredShare = 0.9;
constexpr size_t kRecoveryMean = 3;      // seconds that are averaged
constexpr uint64_t kSeedsApart = 1'000;  // more than there are scenarios

// Most changes within any 10 s after the first 15.
int MostChanges(const SimOutcome& outcome) {
  int most = 0;
  const std::vector<double>& at = outcome.change_seconds;
  for (size_t i = 0; i < at.size(); ++i) {
    if (at[i] < kSettledSeconds) continue;
    const auto in_span = std::count_if(at.begin() + static_cast<ptrdiff_t>(i), at.end(),
                                       [&](double other) { return other < at[i] + kSteadySpan; });
    most = std::max(most, static_cast<int>(in_span));
  }
  return most;
}

// Seconds from `from` until as much is answered in time, on average over 3 s, as 0.9 of what the
// oracle answers in those.
double RecoverySeconds(const SimOutcome& outcome, const SimOutcome& oracle, size_t from) {
  const auto sum = [](const std::vector<double>& values, size_t begin) {
    double total = 0;
    for (size_t i = begin; i < std::min(begin + kRecoveryMean, values.size()); ++i) {
      total += values[i];
    }
    return total;
  };
  for (size_t second = from; second < oracle.good_by_second.size(); ++second) {
    if (sum(outcome.good_by_second, second) >=
        kRecoveredShare * sum(oracle.good_by_second, second)) {
      return static_cast<double>(second - from);
    }
  }
  return static_cast<double>(oracle.good_by_second.size() - from);
}

std::string RunScenario(const Scenario& scenario, bool quick, bool show_changes) {
  const auto arrivals = ArrivalsOf(scenario);
  const Oracle oracle = FindOracle(scenario, arrivals, quick);
  const SimOutcome adapted = RunPolicy(scenario, arrivals, SimPolicy::kAdapt);
  const SimOutcome aimd = RunPolicy(scenario, arrivals, SimPolicy::kAimd);
  std::vector<std::string> usual;
  for (size_t i = 0; i < UsualSettings(scenario.models[0]).size(); ++i) {
    std::vector<Setting> settings;
    for (const SimModel& model : scenario.models) settings.push_back(UsualSettings(model)[i]);
    usual.push_back(
        absl::StrFormat("{\"name\": \"%s\", \"good_per_s\": %.1f}", settings[0].name,
                        RunFixed(scenario, arrivals, settings).good_rows / scenario.seconds));
  }
  double recovery = -1;
  if (scenario.shape == LoadShape::kStep) {
    const auto third = static_cast<size_t>(scenario.seconds / 3);
    recovery = std::max(RecoverySeconds(adapted, oracle.outcome, third),
                        RecoverySeconds(adapted, oracle.outcome, 2 * third));
  }
  if (show_changes) {
    for (size_t i = 0; i < adapted.changes.size(); ++i) {
      const Adaptation& change = adapted.changes[i];
      std::fprintf(stderr, "%s, %s, %.0f s: %s; realized %.0f%s\n", scenario.name.c_str(),
                   change.model.c_str(), adapted.change_seconds[i], change.reason.c_str(),
                   change.realized_goodput_per_s, change.rolled_back ? ", rolled back" : "");
    }
  }
  const double seconds = scenario.seconds;
  return absl::StrFormat(
      "{\"name\": \"%s\", \"model\": \"%s\", \"steady_load\": %.2f, \"offered_per_s\": %.1f, "
      "\"adapted_per_s\": %.1f, \"oracle_per_s\": %.1f, \"oracle\": \"%s\", \"aimd_per_s\": %.1f, "
      "\"usual\": [%s], \"changes\": %d, \"rolled_back\": %d, \"most_changes_in_10_s\": %d, "
      "\"recovery_s\": %.0f}",
      scenario.name, scenario.models.size() > 1 ? "mixed" : scenario.models[0].name,
      scenario.shape == LoadShape::kSteady ? scenario.load : -1, adapted.offered_rows / seconds,
      adapted.good_rows / seconds, oracle.outcome.good_rows / seconds, oracle.setting,
      aimd.good_rows / seconds, absl::StrJoin(usual, ", "), adapted.changes.size(),
      std::count_if(adapted.changes.begin(), adapted.changes.end(),
                    [](const Adaptation& change) { return change.rolled_back; }),
      MostChanges(adapted), recovery);
}

struct Options {
  bool quick = false, changes = false;
  uint64_t seed = 0;
  std::string only = {};
};

bool Parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      options.quick = true;
    } else if (argument == "--changes") {
      options.changes = true;
    } else if (argument == "--seed" && i + 1 < argc) {
      if (!absl::SimpleAtoi(argv[++i], &options.seed)) return false;
    } else if (argument == "--only" && i + 1 < argc) {
      options.only = argv[++i];
    } else {
      return false;
    }
  }
  return true;
}

int Main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: %s [--quick] [--seed N] [--only TEXT] [--changes]\n", argv[0]);
    return 2;
  }
  std::vector<std::string> rows;
  for (Scenario scenario : AdaptationScenarios(options.quick)) {
    if (!absl::StrContains(scenario.name, options.only)) continue;
    scenario.seed += options.seed * kSeedsApart;
    rows.push_back(RunScenario(scenario, options.quick, options.changes));
  }
  std::printf("{\"scenarios\": [\n%s\n]}\n", absl::StrJoin(rows, ",\n").c_str());
  return 0;
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) { return bitmill::Main(argc, argv); }
