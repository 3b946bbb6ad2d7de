// The backend of an opened device: models as device plans, compared with the CPU before they are
// served and replaced by it when the device fails.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/device/device_stream.h"

namespace bitmill {

// `cpu` computes what the device is compared with, and takes over when it fails; outlives the
// backend.
std::unique_ptr<Backend> CreateDeviceBackend(std::shared_ptr<const PlanDevice> device,
                                             const Backend& cpu);

}  // namespace bitmill
