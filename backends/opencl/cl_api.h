// The OpenCL functions that the backend calls, found at run time: nothing is linked, and a machine
// without a loader runs the same program. Handles that release themselves; errors as statuses.
#pragma once

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

#define BITMILL_CL_FUNCTIONS(X) \
  X(clGetPlatformIDs);          \
  X(clGetPlatformInfo);         \
  X(clGetDeviceIDs);            \
  X(clGetDeviceInfo);           \
  X(clCreateContext);           \
  X(clReleaseContext);          \
  X(clCreateCommandQueue);      \
  X(clReleaseCommandQueue);     \
  X(clCreateBuffer);            \
  X(clReleaseMemObject);        \
  X(clCreateProgramWithSource); \
  X(clCreateProgramWithBinary); \
  X(clBuildProgram);            \
  X(clGetProgramInfo);          \
  X(clGetProgramBuildInfo);     \
  X(clReleaseProgram);          \
  X(clCreateKernel);            \
  X(clReleaseKernel);           \
  X(clSetKernelArg);            \
  X(clEnqueueNDRangeKernel);    \
  X(clEnqueueReadBuffer);       \
  X(clEnqueueWriteBuffer);      \
  X(clEnqueueMapBuffer);        \
  X(clEnqueueUnmapMemObject);   \
  X(clFinish);                  \
  X(clGetEventProfilingInfo);   \
  X(clReleaseEvent);

// The functions of a library. Tests replace some to inject faults.
struct ClApi {
#define BITMILL_CL_POINTER(name) decltype(&::name) name = nullptr
  BITMILL_CL_FUNCTIONS(BITMILL_CL_POINTER)
#undef BITMILL_CL_POINTER
  std::string library;
};

inline constexpr char kClLoader[] = "libOpenCL.so.1";

// Loads the library for the rest of the process: drivers have threads and exit handlers. NotFound
// when there is none, FailedPrecondition when it lacks a function of OpenCL 1.2.
absl::StatusOr<std::shared_ptr<const ClApi>> LoadClApi(const std::string& library = kClLoader);

// OK for CL_SUCCESS. ResourceExhausted for want of memory, Unavailable for a device that is gone,
// NotFound, FailedPrecondition for programs that do not build, otherwise Internal; the message has
// the call and the error's name.
absl::Status ClStatus(cl_int error, absl::string_view call);

// Owns a handle; `api` outlives it.
template <typename Handle, cl_int (CL_API_CALL* ClApi::*release)(Handle)>
class ClHandle {
 public:
  ClHandle() = default;
  ClHandle(const ClApi& api, Handle handle) : api_(&api), handle_(handle) {}
  ClHandle(ClHandle&& other) noexcept
      : api_(other.api_), handle_(std::exchange(other.handle_, {})) {}
  ClHandle& operator=(ClHandle&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~ClHandle() {
    if (handle_ != nullptr) (api_->*release)(handle_);
  }
  ClHandle(const ClHandle&) = delete;
  ClHandle& operator=(const ClHandle&) = delete;

  Handle get() const { return handle_; }

 private:
  const ClApi* api_ = nullptr;
  Handle handle_ = nullptr;
};

using ClContextHandle = ClHandle<cl_context, &ClApi::clReleaseContext>;
using ClQueueHandle = ClHandle<cl_command_queue, &ClApi::clReleaseCommandQueue>;
using ClMemoryHandle = ClHandle<cl_mem, &ClApi::clReleaseMemObject>;
using ClProgramHandle = ClHandle<cl_program, &ClApi::clReleaseProgram>;
using ClKernelHandle = ClHandle<cl_kernel, &ClApi::clReleaseKernel>;
using ClEventHandle = ClHandle<cl_event, &ClApi::clReleaseEvent>;

}  // namespace bitmill
