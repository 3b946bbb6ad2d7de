// The functions of NVIDIA's driver that the backend calls, found at run time: nothing is linked, no
// header of CUDA is needed, and a machine without a driver runs the same program. What is declared
// here are facts of the driver's binary interface: types, numbers, names as the library exports
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;
struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;

namespace bitmill {

using CuResult = int;
using CuDevice = int;
using CuPointer = unsigned long long;  // in the device's memory
using CuContext = CUctx_st*;
using CuModule = CUmod_st*;
using CuFunction = CUfunc_st*;
using CuStream = CUstream_st*;
using CuEvent = CUevent_st*;
using CuGraph = CUgraph_st*;
using CuGraphExec = CUgraphExec_st*;

// CUresult.
inline constexpr CuResult kCuSuccess = 0;
inline constexpr CuResult kCuInvalidValue = 1;
inline constexpr CuResult kCuOutOfMemory = 2;
inline constexpr CuResult kCuNotInitialized = 3;
inline constexpr CuResult kCuDeviceUnavailable = 46;
inline constexpr CuResult kCuNoDevice = 100;
inline constexpr CuResult kCuInvalidImage = 200;
inline constexpr CuResult kCuNoBinaryForGpu = 209;
inline constexpr CuResult kCuEccUncorrectable = 214;
inline constexpr CuResult kCuInvalidPtx = 218;
inline constexpr CuResult kCuUnsupportedPtx = 222;
inline constexpr CuResult kCuNotFound = 500;
inline constexpr CuResult kCuNotReady = 600;
inline constexpr CuResult kCuIllegalAddress = 700;
inline constexpr CuResult kCuLaunchOutOfResources = 701;
inline constexpr CuResult kCuContextDestroyed = 709;
inline constexpr CuResult kCuLaunchFailed = 719;
inline constexpr CuResult kCuNotSupported = 801;
inline constexpr CuResult kCuSystemNotReady = 802;
inline constexpr CuResult kCuSystemDriverMismatch = 803;
inline constexpr CuResult kCuCaptureUnsupported = 900;
inline constexpr CuResult kCuUnknown = 999;

// CUdevice_attribute.
inline constexpr int kCuClockKhz = 13;
inline constexpr int kCuMultiprocessors = 16;
inline constexpr int kCuIntegrated = 18;
inline constexpr int kCuComputeMode = 20;
inline constexpr int kCuMemoryClockKhz = 36;
inline constexpr int kCuMemoryBusBits = 37;
inline constexpr int kCuCapabilityMajor = 75;
inline constexpr int kCuCapabilityMinor = 76;
inline constexpr int kCuMaxSharedBytes = 97;  // of a block, when it asks for it
inline constexpr int kCuComputeModeProhibited = 2;

inline constexpr unsigned kCuContextBlockingSync = 4;       // CU_CTX_SCHED_BLOCKING_SYNC
inline constexpr unsigned kCuStreamNonBlocking = 1;         // CU_STREAM_NON_BLOCKING
inline constexpr int kCuCaptureThreadLocal = 1;             // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
inline constexpr unsigned kCuEventDefault = 0;              // CU_EVENT_DEFAULT
inline constexpr int kCuFunctionMaxDynamicSharedBytes = 8;  // CUfunction_attribute

// X(member, symbol, result, parameters). The library exports several versions of some functions;
// the symbol is the one whose parameters these are.
#define BITMILL_CUDA_FUNCTIONS(X)                                                                  \
  X(Init, "cuInit", (unsigned flags))                                                              \
  X(DriverGetVersion, "cuDriverGetVersion", (int* version))                                        \
  X(GetErrorName, "cuGetErrorName", (CuResult error, const char** name))                           \
  X(DeviceGetCount, "cuDeviceGetCount", (int* count))                                              \
  X(DeviceGet, "cuDeviceGet", (CuDevice * device, int number))                                     \
  X(DeviceGetName, "cuDeviceGetName", (char* name, int bytes, CuDevice device))                    \
  X(DeviceTotalMem, "cuDeviceTotalMem_v2", (size_t * bytes, CuDevice device))                      \
  X(DeviceGetAttribute, "cuDeviceGetAttribute", (int* value, int attribute, CuDevice device))      \
  X(PrimaryCtxSetFlags, "cuDevicePrimaryCtxSetFlags_v2", (CuDevice device, unsigned flags))        \
  X(PrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CuContext * context, CuDevice device))          \
  X(PrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (CuDevice device))                          \
  X(CtxSetCurrent, "cuCtxSetCurrent", (CuContext context))                                         \
  X(ModuleLoadData, "cuModuleLoadData", (CuModule * module, const void* image))                    \
  X(ModuleUnload, "cuModuleUnload", (CuModule module))                                             \
  X(ModuleGetFunction, "cuModuleGetFunction",                                                      \
    (CuFunction * function, CuModule module, const char* name))                                    \
  X(FuncSetAttribute, "cuFuncSetAttribute", (CuFunction function, int attribute, int value))       \
  X(MemAlloc, "cuMemAlloc_v2", (CuPointer * pointer, size_t bytes))                                \
  X(MemFree, "cuMemFree_v2", (CuPointer pointer))                                                  \
  X(MemHostAlloc, "cuMemHostAlloc", (void** pointer, size_t bytes, unsigned flags))                \
  X(MemFreeHost, "cuMemFreeHost", (void* pointer))                                                 \
  X(MemcpyHtoD, "cuMemcpyHtoD_v2", (CuPointer to, const void* from, size_t bytes))                 \
  X(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2",                                                       \
    (CuPointer to, const void* from, size_t bytes, CuStream stream))                               \
  X(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2",                                                       \
    (void* to, CuPointer from, size_t bytes, CuStream stream))                                     \
  X(StreamCreate, "cuStreamCreate", (CuStream * stream, unsigned flags))                           \
  X(StreamDestroy, "cuStreamDestroy_v2", (CuStream stream))                                        \
  X(StreamSynchronize, "cuStreamSynchronize", (CuStream stream))                                   \
  X(EventCreate, "cuEventCreate", (CuEvent * event, unsigned flags))                               \
  X(EventDestroy, "cuEventDestroy_v2", (CuEvent event))                                            \
  X(EventRecord, "cuEventRecord", (CuEvent event, CuStream stream))                                \
  X(EventElapsedTime, "cuEventElapsedTime", (float* ms, CuEvent start, CuEvent end))               \
  X(LaunchKernel, "cuLaunchKernel",                                                                \
    (CuFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,     \
     unsigned block_y, unsigned block_z, unsigned shared_bytes, CuStream stream, void** arguments, \
     void** extra))

// Those of graphs, which a driver may lack: batches are then launched kernel by kernel.
#define BITMILL_CUDA_GRAPH_FUNCTIONS(X)                                         \
  X(StreamBeginCapture, "cuStreamBeginCapture_v2", (CuStream stream, int mode)) \
  X(StreamEndCapture, "cuStreamEndCapture", (CuStream stream, CuGraph * graph)) \
  X(GraphInstantiate, "cuGraphInstantiateWithFlags",                            \
    (CuGraphExec * exec, CuGraph graph, unsigned long long flags))              \
  X(GraphLaunch, "cuGraphLaunch", (CuGraphExec exec, CuStream stream))          \
  X(GraphDestroy, "cuGraphDestroy", (CuGraph graph))                            \
  X(GraphExecDestroy, "cuGraphExecDestroy", (CuGraphExec exec))

// The functions of a library. Tests replace some to inject faults.
struct CudaApi {
#define BITMILL_CUDA_POINTER(member, symbol, parameters) CuResult(*member) parameters = nullptr;
  BITMILL_CUDA_FUNCTIONS(BITMILL_CUDA_POINTER)
  BITMILL_CUDA_GRAPH_FUNCTIONS(BITMILL_CUDA_POINTER)
#undef BITMILL_CUDA_POINTER
  std::string library;
  int driver_version = 0;  // of CUDA: 13000 is 13.0

  bool has_graphs() const { return GraphLaunch != nullptr; }
};

inline constexpr char kCudaDriver[] = "libcuda.so.1";

// Loads the driver for the rest of the process and initializes it. NotFound when there is none or
// it has no device, FailedPrecondition when it lacks a function, otherwise what the driver says.
absl::StatusOr<std::shared_ptr<const CudaApi>> LoadCudaApi(
    const std::string& library = kCudaDriver);

// OK for success. ResourceExhausted for want of memory, Unavailable for a device that is gone,
// NotFound, FailedPrecondition for kernels that the driver does not take, otherwise Internal; the
// message has the call and the error's name.
absl::Status CudaStatus(const CudaApi& api, CuResult error, absl::string_view call);

// "13.0".
std::string CudaVersionText(int version);

// Owns what a function of the driver releases; `api` outlives it, and the device's context is
// current in the thread where it ends (CudaDevice::Enter).
template <typename Handle, CuResult (*CudaApi::*release)(Handle)>
class CudaHandle {
 public:
  CudaHandle() = default;
  CudaHandle(const CudaApi& api, Handle handle) : api_(&api), handle_(handle) {}
  CudaHandle(CudaHandle&& other) noexcept
      : api_(other.api_), handle_(std::exchange(other.handle_, Handle{})) {}
  CudaHandle& operator=(CudaHandle&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~CudaHandle() {
    if (handle_ != Handle{}) (api_->*release)(handle_);
  }
  CudaHandle(const CudaHandle&) = delete;
  CudaHandle& operator=(const CudaHandle&) = delete;

  Handle get() const { return handle_; }

 private:
  const CudaApi* api_ = nullptr;
  Handle handle_{};
};

using CudaMemory = CudaHandle<CuPointer, &CudaApi::MemFree>;
using CudaHostMemory = CudaHandle<void*, &CudaApi::MemFreeHost>;
using CudaModuleHandle = CudaHandle<CuModule, &CudaApi::ModuleUnload>;
using CudaStreamHandle = CudaHandle<CuStream, &CudaApi::StreamDestroy>;
using CudaEventHandle = CudaHandle<CuEvent, &CudaApi::EventDestroy>;
using CudaGraphHandle = CudaHandle<CuGraph, &CudaApi::GraphDestroy>;
using CudaGraphExecHandle = CudaHandle<CuGraphExec, &CudaApi::GraphExecDestroy>;

}  // namespace bitmill
