// An OpenCL device for device plans (backends/device/device_stream.h).
#pragma once

#include <memory>

#include "backends/device/device_stream.h"
#include "backends/opencl/cl_device.h"

namespace bitmill {

std::shared_ptr<const PlanDevice> MakeClPlanDevice(std::shared_ptr<ClDevice> device);

}  // namespace bitmill
