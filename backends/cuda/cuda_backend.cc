#include "backends/cuda/cuda_backend.h"

#include <utility>
#include <vector>

#include "backends/cuda/cuda_device.h"
#include "backends/cuda/cuda_devices.h"
#include "backends/cuda/cuda_plan_device.h"
#include "backends/device/device_backend.h"
#include "base/status_macros.h"
#include "kernels/cuda/device_image.h"

namespace bitmill {

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(std::shared_ptr<const CudaApi> api,
                                                           std::string_view image,
                                                           const CudaOptions& options,
                                                           const Backend& cpu) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> devices, ListCudaDevices(*api));
  BITMILL_ASSIGN_OR_RETURN(const CudaDeviceInfo info, ChooseCudaDevice(devices, options.device));
  if (image.empty()) {
    return absl::FailedPreconditionError(
        "this program was built without CUDA kernels; building it with nvcc adds them");
  }
  BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<CudaDevice> device,
                           CudaDevice::Open(std::move(api), info, image));
  return CreateDeviceBackend(MakeCudaPlanDevice(std::move(device)), cpu);
}

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options,
                                                           const Backend& cpu) {
  BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<const CudaApi> api, LoadCudaApi(options.library));
  return CreateCudaBackend(std::move(api), CudaImage(), options, cpu);
}

}  // namespace bitmill
