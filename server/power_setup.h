// What the options of the server say about power.
#pragma once

#include "absl/status/statusor.h"
#include "server/analysis/energy.h"
#include "server/analysis/power_governor.h"
#include "server/app.h"

namespace bitmill {

struct PowerSetup {
  PowerOptions options;
  EnergyModel energy;  // where energy cannot be read
};

// InvalidArgument naming the option, the value seen and what is allowed.
absl::StatusOr<PowerSetup> ReadPowerOptions(const ServeOptions& options);

}  // namespace bitmill
