// Models on an OpenCL device (docs/decisions/0020-opencl.md).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/opencl/cl_api.h"

namespace bitmill {

struct OpenClOptions {
  std::string library = kClLoader;  // the loader
  std::string device;               // see ChooseClDevice; empty: the best one
  std::string cache_folder;         // of compiled kernels; empty: they are not kept
};

// Opens the device. NotFound when there is no loader, platform or device, FailedPrecondition when
// the device cannot be used or does not compile the kernels: one line that says what to do. `cpu`
// computes what the device is compared with, and takes over when it fails; outlives the backend.
absl::StatusOr<std::unique_ptr<Backend>> CreateOpenClBackend(const OpenClOptions& options,
                                                             const Backend& cpu);

// The same with functions that tests replace.
absl::StatusOr<std::unique_ptr<Backend>> CreateOpenClBackend(std::shared_ptr<const ClApi> api,
                                                             const OpenClOptions& options,
                                                             const Backend& cpu);

}  // namespace bitmill
