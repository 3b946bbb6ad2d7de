// A device plan that runs on the host, kernels and all (host_kernels.h).
#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/device/device_plan.h"

namespace bitmill {

std::unique_ptr<Executable> MakeHostExecutable(Signature signature, DevicePlan plan);

}  // namespace bitmill
