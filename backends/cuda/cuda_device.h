// An opened device with the program's kernels, shared by all models that run on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/cuda/cuda_api.h"
#include "backends/cuda/cuda_devices.h"

namespace bitmill {

// Thread-safe. Outlives what was made with it. The device's primary context is retained as long.
class CudaDevice {
 public:
  // `image`: a fat binary, kernels/cuda/device_image.h. FailedPrecondition when the driver does not
  // take it.
  static absl::StatusOr<std::shared_ptr<CudaDevice>> Open(std::shared_ptr<const CudaApi> api,
                                                          const CudaDeviceInfo& info,
                                                          std::string_view image);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  const CudaApi& api() const { return *api_; }
  const CudaDeviceInfo& info() const { return info_; }
  // How long loading the kernels took: "loaded in 12 ms". Compiling them from PTX, for a device
  // that is newer than the program, is a part of that.
  const std::string& origin() const { return origin_; }

  // Makes the context current in this thread: before anything else, and before what was made with
  // the device is released.
  absl::Status Enter() const;

  absl::StatusOr<CudaMemory> NewMemory(int64_t bytes) const;
  // A copy of `bytes` bytes.
  absl::StatusOr<CudaMemory> Upload(const void* data, int64_t bytes) const;
  // Page-locked, so that the device copies from and to it while the caller goes on.
  absl::StatusOr<CudaHostMemory> NewHostMemory(int64_t bytes) const;
  absl::StatusOr<CudaStreamHandle> NewStream() const;
  absl::StatusOr<CudaEventHandle> NewEvent() const;
  // Internal when the image has no such kernel. Lives as long as the device.
  absl::StatusOr<CuFunction> Kernel(const std::string& name) const;
  // Lets the kernel have as many bytes of shared memory. ResourceExhausted when the device has
  // less.
  absl::Status AllowShared(const std::string& name, CuFunction kernel, int64_t bytes) const;

  absl::Status Check(CuResult error, absl::string_view call) const {
    return CudaStatus(*api_, error, call);
  }

 private:
  CudaDevice(std::shared_ptr<const CudaApi> api, const CudaDeviceInfo& info);
  absl::Status LoadKernels(std::string_view image);

  const std::shared_ptr<const CudaApi> api_;
  const CudaDeviceInfo info_;
  std::string origin_;
  CuContext context_ = nullptr;
  CudaModuleHandle module_;
};

}  // namespace bitmill
