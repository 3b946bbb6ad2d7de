// Models on a CUDA device (docs/decisions/0025-cuda.md).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/cuda/cuda_api.h"

namespace bitmill {

struct CudaOptions {
  std::string library = kCudaDriver;  // the driver
  std::string device;                 // see ChooseCudaDevice; empty: the first usable one
};

// Opens the device. NotFound when there is no driver or device, FailedPrecondition when the program
// has no kernels, or the device cannot be used or does not take them: one line that says what to
// do. `cpu` computes what the device is compared with, and takes over when it fails; outlives the
// backend.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options,
                                                           const Backend& cpu);

// The same with functions, and an image of the kernels, that tests replace.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(std::shared_ptr<const CudaApi> api,
                                                           std::string_view image,
                                                           const CudaOptions& options,
                                                           const Backend& cpu);

}  // namespace bitmill
