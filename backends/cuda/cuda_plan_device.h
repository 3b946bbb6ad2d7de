// A CUDA device for device plans (backends/device/device_stream.h).
#pragma once

#include <memory>

#include "backends/cuda/cuda_device.h"
#include "backends/device/device_stream.h"

namespace bitmill {

std::shared_ptr<const PlanDevice> MakeCudaPlanDevice(std::shared_ptr<CudaDevice> device);

}  // namespace bitmill
