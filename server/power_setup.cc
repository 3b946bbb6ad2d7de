#include "server/power_setup.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace bitmill {
namespace {

constexpr double kMaxWatts = 1e6;
constexpr double kMaxCoreWatts = 1000;
// Declared for this machine, and power is still taken to grow in a straight line.
constexpr double kDeclaredUncertainty = 0.25;

}  // namespace

absl::StatusOr<PowerSetup> ReadPowerOptions(const ServeOptions& options) {
  PowerSetup setup;
  if (!(options.power_max_watts >= 0 && options.power_max_watts <= kMaxWatts)) {
    return absl::InvalidArgumentError(
        absl::StrCat("power limit ", options.power_max_watts, " W, expected 0 to ", kMaxWatts));
  }
  if (options.power_prefer != "speed" && options.power_prefer != "efficiency") {
    return absl::InvalidArgumentError(absl::StrCat("power preference '", options.power_prefer,
                                                   "', expected speed or efficiency"));
  }
  if ((options.power_max_watts > 0 || options.power_prefer == "efficiency") && !options.analysis) {
    return absl::InvalidArgumentError("power settings need the analysis, which is switched off");
  }
  setup.options.server = {.max_watts = options.power_max_watts,
                          .efficiency = options.power_prefer == "efficiency"};
  if (options.power_core_watts.empty()) return setup;
  const std::vector<std::string> parts = absl::StrSplit(options.power_core_watts, ',');
  EnergyModel& model = setup.energy;
  const bool read = parts.size() == 2 && absl::SimpleAtod(parts[0], &model.idle_watts) &&
                    absl::SimpleAtod(parts[1], &model.busy_watts);
  if (!read || !(model.idle_watts >= 0 && model.idle_watts <= model.busy_watts &&
                 model.busy_watts > 0 && model.busy_watts <= kMaxCoreWatts)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "watts of a CPU '", options.power_core_watts,
        "', expected IDLE,BUSY as 0.8,4.5, busy at least idle, at most ", kMaxCoreWatts));
  }
  model.relative_uncertainty = kDeclaredUncertainty;
  setup.options.trust_model = true;
  return setup;
}

}  // namespace bitmill
