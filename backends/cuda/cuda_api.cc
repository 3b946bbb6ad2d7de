#include "backends/cuda/cuda_api.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

struct ErrorCode {
  CuResult error;
  absl::StatusCode code;
};

constexpr ErrorCode kErrors[] = {
    {kCuOutOfMemory, absl::StatusCode::kResourceExhausted},
    {kCuLaunchOutOfResources, absl::StatusCode::kResourceExhausted},
    {kCuDeviceUnavailable, absl::StatusCode::kUnavailable},
    {kCuEccUncorrectable, absl::StatusCode::kUnavailable},
    {kCuContextDestroyed, absl::StatusCode::kUnavailable},
    {kCuSystemNotReady, absl::StatusCode::kUnavailable},
    {kCuUnknown, absl::StatusCode::kUnavailable},
    {kCuNoDevice, absl::StatusCode::kNotFound},
    {kCuNotFound, absl::StatusCode::kNotFound},
    {kCuInvalidImage, absl::StatusCode::kFailedPrecondition},
    {kCuNoBinaryForGpu, absl::StatusCode::kFailedPrecondition},
    {kCuInvalidPtx, absl::StatusCode::kFailedPrecondition},
    {kCuUnsupportedPtx, absl::StatusCode::kFailedPrecondition},
    {kCuSystemDriverMismatch, absl::StatusCode::kFailedPrecondition},
};

constexpr int kVersionMajor = 1000, kVersionMinor = 10;  // of CUDA's version numbers

// Whether the library has the function; `function` is null when it does not.
template <typename Function>
bool FindFunction(void* library, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, symbol));
  return function != nullptr;
}

}  // namespace

absl::Status CudaStatus(const CudaApi& api, CuResult error, absl::string_view call) {
  if (error == kCuSuccess) return absl::OkStatus();
  absl::StatusCode code = absl::StatusCode::kInternal;
  for (const ErrorCode& known : kErrors) {
    if (known.error == error) code = known.code;
  }
  const char* name = nullptr;
  if (api.GetErrorName(error, &name) == kCuSuccess && name != nullptr) {
    return absl::Status(code, absl::StrCat("CUDA: ", call, " gives ", name));
  }
  return absl::Status(code, absl::StrCat("CUDA: ", call, " gives error ", error));
}

std::string CudaVersionText(int version) {
  return absl::StrCat(version / kVersionMajor, ".", version % kVersionMajor / kVersionMinor);
}

absl::StatusOr<std::shared_ptr<const CudaApi>> LoadCudaApi(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = dlerror();
    return absl::NotFoundError(
        absl::StrCat("no CUDA driver: ", why != nullptr ? why : library.c_str()));
  }
  auto api = std::make_shared<CudaApi>();
  api->library = library;
  const char* missing = nullptr;
#define BITMILL_CUDA_LOAD(member, symbol, parameters) \
  if (!FindFunction(handle, symbol, api->member)) missing = symbol;
  BITMILL_CUDA_FUNCTIONS(BITMILL_CUDA_LOAD)
  if (missing != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("CUDA: ", library, " has no function ", missing));
  }
  BITMILL_CUDA_GRAPH_FUNCTIONS(BITMILL_CUDA_LOAD)
#undef BITMILL_CUDA_LOAD
  if (missing != nullptr) api->GraphLaunch = nullptr;  // all of them or none
  BITMILL_RETURN_IF_ERROR(CudaStatus(*api, api->Init(0), "cuInit"));
  BITMILL_RETURN_IF_ERROR(
      CudaStatus(*api, api->DriverGetVersion(&api->driver_version), "cuDriverGetVersion"));
  return api;
}

}  // namespace bitmill
