// How fast a device computes a binary layer, beside how fast it could.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "backends/opencl/cl_device.h"

namespace bitmill {

// 1-bit multiply-accumulates a second.
struct DeviceSpeed {
  double count_bits = 0.0;   // xor and count of words in registers: no kernel can be faster
  double convolution = 0.0;  // a 3 x 3 convolution of 14 x 14 pixels, 256 channels to 256, 8 rows
};

// Runs both a few times, for a fraction of a second, after compiling them; the fastest counts.
// Errors of the device.
absl::StatusOr<DeviceSpeed> MeasureDeviceSpeed(const std::shared_ptr<ClDevice>& device);

}  // namespace bitmill
