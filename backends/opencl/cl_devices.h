// The devices of all OpenCL platforms, and whether the kernels can run on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/opencl/cl_api.h"

namespace bitmill {

struct ClDeviceInfo {
  cl_platform_id platform_id = nullptr;
  cl_device_id id = nullptr;
  std::string name, vendor, driver, version;  // as the driver says them
  std::string platform, platform_version;
  cl_device_type type = CL_DEVICE_TYPE_DEFAULT;
  int64_t compute_units = 0, clock_mhz = 0;
  int64_t memory_bytes = 0, max_buffer_bytes = 0;
  int64_t max_work_group = 0;
  bool fp64 = false;          // double precision
  bool exact_divide = false;  // division and square root of floats are rounded correctly
  std::string problem;        // why the kernels cannot run on it; empty: they can

  // "CPU", "GPU", "accelerator", "device".
  const char* type_name() const;
};

// In the order of platforms and devices, usable or not. NotFound when there is no platform or no
// device; otherwise what went wrong. Platforms that fail are passed over while others have devices.
absl::StatusOr<std::vector<ClDeviceInfo>> ListClDevices(const ClApi& api);

// The device that `wanted` names: its number in the list, or a part of its name or its platform's,
// whatever the case; empty: the first usable GPU, accelerator or CPU, in this order. NotFound lists
// what there is; FailedPrecondition when the one that is named cannot be used.
absl::StatusOr<ClDeviceInfo> ChooseClDevice(const std::vector<ClDeviceInfo>& devices,
                                            const std::string& wanted);

}  // namespace bitmill
