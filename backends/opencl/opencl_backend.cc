#include "backends/opencl/opencl_backend.h"

#include <utility>
#include <vector>

#include "backends/device/device_backend.h"
#include "backends/opencl/cl_device.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/cl_plan_device.h"
#include "base/status_macros.h"

namespace bitmill {

absl::StatusOr<std::unique_ptr<Backend>> CreateOpenClBackend(std::shared_ptr<const ClApi> api,
                                                             const OpenClOptions& options,
                                                             const Backend& cpu) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<ClDeviceInfo> devices, ListClDevices(*api));
  BITMILL_ASSIGN_OR_RETURN(const ClDeviceInfo info, ChooseClDevice(devices, options.device));
  BITMILL_ASSIGN_OR_RETURN(
      std::shared_ptr<ClDevice> device,
      ClDevice::Open(std::move(api), info, ProgramCache(options.cache_folder)));
  return CreateDeviceBackend(MakeClPlanDevice(std::move(device)), cpu);
}

absl::StatusOr<std::unique_ptr<Backend>> CreateOpenClBackend(const OpenClOptions& options,
                                                             const Backend& cpu) {
  BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<const ClApi> api, LoadClApi(options.library));
  return CreateOpenClBackend(std::move(api), options, cpu);
}

}  // namespace bitmill
