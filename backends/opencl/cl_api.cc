#include "backends/opencl/cl_api.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr cl_int kNoPlatform = -1001;  // CL_PLATFORM_NOT_FOUND_KHR, of the loader

struct ErrorName {
  cl_int error;
  absl::StatusCode code;
  const char* name;
};

constexpr ErrorName kErrors[] = {
    {CL_DEVICE_NOT_FOUND, absl::StatusCode::kNotFound, "CL_DEVICE_NOT_FOUND"},
    {kNoPlatform, absl::StatusCode::kNotFound, "CL_PLATFORM_NOT_FOUND_KHR"},
    {CL_DEVICE_NOT_AVAILABLE, absl::StatusCode::kUnavailable, "CL_DEVICE_NOT_AVAILABLE"},
    {CL_COMPILER_NOT_AVAILABLE, absl::StatusCode::kFailedPrecondition, "CL_COMPILER_NOT_AVAILABLE"},
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, absl::StatusCode::kResourceExhausted,
     "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
    {CL_OUT_OF_RESOURCES, absl::StatusCode::kResourceExhausted, "CL_OUT_OF_RESOURCES"},
    {CL_OUT_OF_HOST_MEMORY, absl::StatusCode::kResourceExhausted, "CL_OUT_OF_HOST_MEMORY"},
    {CL_INVALID_BUFFER_SIZE, absl::StatusCode::kResourceExhausted, "CL_INVALID_BUFFER_SIZE"},
    {CL_BUILD_PROGRAM_FAILURE, absl::StatusCode::kFailedPrecondition, "CL_BUILD_PROGRAM_FAILURE"},
    {CL_INVALID_BINARY, absl::StatusCode::kFailedPrecondition, "CL_INVALID_BINARY"},
    {CL_PROFILING_INFO_NOT_AVAILABLE, absl::StatusCode::kInternal,
     "CL_PROFILING_INFO_NOT_AVAILABLE"},
    {CL_INVALID_VALUE, absl::StatusCode::kInternal, "CL_INVALID_VALUE"},
    {CL_INVALID_KERNEL_NAME, absl::StatusCode::kInternal, "CL_INVALID_KERNEL_NAME"},
    {CL_INVALID_COMMAND_QUEUE, absl::StatusCode::kInternal, "CL_INVALID_COMMAND_QUEUE"},
    {CL_INVALID_WORK_GROUP_SIZE, absl::StatusCode::kInternal, "CL_INVALID_WORK_GROUP_SIZE"},
    {CL_INVALID_KERNEL_ARGS, absl::StatusCode::kInternal, "CL_INVALID_KERNEL_ARGS"},
};

template <typename Function>
void FindFunction(void* library, const char* name, Function& function, const char*& missing) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) missing = name;
}

}  // namespace

absl::Status ClStatus(cl_int error, absl::string_view call) {
  if (error == CL_SUCCESS) return absl::OkStatus();
  for (const ErrorName& known : kErrors) {
    if (known.error == error) {
      return absl::Status(known.code, absl::StrCat("OpenCL: ", call, " gives ", known.name));
    }
  }
  return absl::InternalError(absl::StrCat("OpenCL: ", call, " gives error ", error));
}

absl::StatusOr<std::shared_ptr<const ClApi>> LoadClApi(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = dlerror();
    return absl::NotFoundError(absl::StrCat("no OpenCL: ", why != nullptr ? why : library.c_str()));
  }
  auto api = std::make_shared<ClApi>();
  api->library = library;
  const char* missing = nullptr;
#define BITMILL_CL_LOAD(name) FindFunction(handle, #name, api->name, missing)
  BITMILL_CL_FUNCTIONS(BITMILL_CL_LOAD)
#undef BITMILL_CL_LOAD
  if (missing != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("OpenCL: ", library, " has no function ", missing, "; 1.2 is needed"));
  }
  return api;
}

}  // namespace bitmill
