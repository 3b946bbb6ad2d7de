#include "backends/cuda/cuda_device.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;

}  // namespace

CudaDevice::CudaDevice(std::shared_ptr<const CudaApi> api, const CudaDeviceInfo& info)
    : api_(std::move(api)), info_(info) {}

CudaDevice::~CudaDevice() {
  if (context_ == nullptr) return;
  api_->CtxSetCurrent(context_);
  module_ = CudaModuleHandle();
  api_->PrimaryCtxRelease(info_.id);
}

absl::StatusOr<std::shared_ptr<CudaDevice>> CudaDevice::Open(std::shared_ptr<const CudaApi> api,
                                                             const CudaDeviceInfo& info,
                                                             std::string_view image) {
  std::shared_ptr<CudaDevice> device(new CudaDevice(std::move(api), info));
  const CudaApi& own = device->api();
  // Threads that wait for the device sleep. Other owners of the context may have it otherwise; then
  // they spin, which is as right.
  own.PrimaryCtxSetFlags(info.id, kCuContextBlockingSync);
  BITMILL_RETURN_IF_ERROR(
      device->Check(own.PrimaryCtxRetain(&device->context_, info.id), "cuDevicePrimaryCtxRetain"));
  BITMILL_RETURN_IF_ERROR(device->LoadKernels(image));
  return device;
}

absl::Status CudaDevice::LoadKernels(std::string_view image) {
  const SystemClock clock;
  const int64_t start_ns = clock.Now();
  BITMILL_RETURN_IF_ERROR(Enter());
  CuModule module = nullptr;
  const absl::Status loaded =
      Check(api_->ModuleLoadData(&module, image.data()), "cuModuleLoadData");
  if (absl::IsFailedPrecondition(loaded)) {
    return absl::FailedPreconditionError(absl::StrCat(
        loaded.message(), ": the driver, for CUDA ", CudaVersionText(api_->driver_version),
        ", does not take this program's kernels "
        "for ",
        info_.name, " (", info_.capability_text(), "); a newer one may"));
  }
  BITMILL_RETURN_IF_ERROR(loaded);
  module_ = CudaModuleHandle(*api_, module);
  origin_ = absl::StrCat("loaded in ", (clock.Now() - start_ns) / kNanosPerMilli, " ms");
  return absl::OkStatus();
}

absl::Status CudaDevice::Enter() const {
  return Check(api_->CtxSetCurrent(context_), "cuCtxSetCurrent");
}

absl::StatusOr<CudaMemory> CudaDevice::NewMemory(int64_t bytes) const {
  CuPointer pointer = 0;
  BITMILL_RETURN_IF_ERROR(Check(api_->MemAlloc(&pointer, static_cast<size_t>(bytes)),
                                absl::StrCat("cuMemAlloc(", bytes, " bytes)")));
  return CudaMemory(*api_, pointer);
}

absl::StatusOr<CudaMemory> CudaDevice::Upload(const void* data, int64_t bytes) const {
  BITMILL_ASSIGN_OR_RETURN(CudaMemory memory, NewMemory(bytes));
  BITMILL_RETURN_IF_ERROR(
      Check(api_->MemcpyHtoD(memory.get(), data, static_cast<size_t>(bytes)), "cuMemcpyHtoD"));
  // A copy from memory that is not page-locked may still be under way, and our own streams do not
  // wait for it.
  BITMILL_RETURN_IF_ERROR(Check(api_->StreamSynchronize(nullptr), "cuStreamSynchronize"));
  return memory;
}

absl::StatusOr<CudaHostMemory> CudaDevice::NewHostMemory(int64_t bytes) const {
  void* pointer = nullptr;
  BITMILL_RETURN_IF_ERROR(Check(api_->MemHostAlloc(&pointer, static_cast<size_t>(bytes), 0),
                                absl::StrCat("cuMemHostAlloc(", bytes, " bytes)")));
  return CudaHostMemory(*api_, pointer);
}

absl::StatusOr<CudaStreamHandle> CudaDevice::NewStream() const {
  CuStream stream = nullptr;
  BITMILL_RETURN_IF_ERROR(
      Check(api_->StreamCreate(&stream, kCuStreamNonBlocking), "cuStreamCreate"));
  return CudaStreamHandle(*api_, stream);
}

absl::StatusOr<CudaEventHandle> CudaDevice::NewEvent() const {
  CuEvent event = nullptr;
  BITMILL_RETURN_IF_ERROR(Check(api_->EventCreate(&event, kCuEventDefault), "cuEventCreate"));
  return CudaEventHandle(*api_, event);
}

absl::StatusOr<CuFunction> CudaDevice::Kernel(const std::string& name) const {
  CuFunction function = nullptr;
  const absl::Status found = Check(api_->ModuleGetFunction(&function, module_.get(), name.c_str()),
                                   absl::StrCat("cuModuleGetFunction(", name, ")"));
  if (absl::IsNotFound(found)) return absl::InternalError(found.message());
  BITMILL_RETURN_IF_ERROR(found);
  return function;
}

absl::Status CudaDevice::AllowShared(const std::string& name, CuFunction kernel,
                                     int64_t bytes) const {
  if (bytes > info_.max_shared_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("kernel ", name, " wants ", bytes,
                                                     " bytes of shared memory; ", info_.name,
                                                     " has ", info_.max_shared_bytes));
  }
  return Check(
      api_->FuncSetAttribute(kernel, kCuFunctionMaxDynamicSharedBytes, static_cast<int>(bytes)),
      absl::StrCat("cuFuncSetAttribute(", name, ")"));
}

}  // namespace bitmill
