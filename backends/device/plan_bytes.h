// A device plan as bytes that the device keeps (PlanDevice::Keep), so that a model that was loaded
// before is neither read nor packed again.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/device/device_plan.h"

namespace bitmill {

// What else than the device the bytes of a plan depend on: the model file and this program.
std::string PlanName(uint64_t model_hash);

struct KeptPlan {
  std::string model;  // its name, for the log
  DevicePlan plan;
  double tune_seconds = 0.0;  // that its tiles were measured for; 0: they were not
};

// Unimplemented for a plan with host steps or constant outputs, which refer to the model.
absl::StatusOr<std::string> EncodePlan(KeptPlan kept);
// DataLoss when the bytes are no plan, or one with a number that points outside of it. Bytes are
// trusted as far as compiled kernels are: whoever could write them could write those.
absl::StatusOr<KeptPlan> DecodePlan(absl::string_view bytes);

}  // namespace bitmill
