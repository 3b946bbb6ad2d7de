#include "bench/gpu/gpu_device.h"

#include <dlfcn.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cuda/device_image.h"

namespace bitmill {

// The driver's interface: functions of C whose names and arguments are the vendor's.
struct GpuDevice::Calls {
  void* library = nullptr;
  int (*init)(unsigned) = nullptr;
  int (*version)(int*) = nullptr;
  int (*count)(int*) = nullptr;
  int (*device)(int*, int) = nullptr;
  int (*device_name)(char*, int, int) = nullptr;
  int (*attribute)(int*, int, int) = nullptr;
  int (*retain)(void**, int) = nullptr;
  int (*set_current)(void*) = nullptr;
  int (*load)(void**, const void*) = nullptr;
  int (*function)(void**, void*, const char*) = nullptr;
  int (*allocate)(unsigned long long*, size_t) = nullptr;
  int (*free)(unsigned long long) = nullptr;
  int (*fill)(unsigned long long, unsigned char, size_t) = nullptr;
  int (*copy_in)(unsigned long long, const void*, size_t) = nullptr;
  int (*copy_out)(void*, unsigned long long, size_t) = nullptr;
  int (*copy_within)(unsigned long long, unsigned long long, size_t, void*) = nullptr;
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                void**, void**) = nullptr;
  int (*wait)() = nullptr;
  int (*make_event)(void**, unsigned) = nullptr;
  int (*record)(void*, void*) = nullptr;
  int (*elapsed)(float*, void*, void*) = nullptr;
  int (*destroy_event)(void*) = nullptr;
  int (*error_name)(int, const char**) = nullptr;
};

namespace {

constexpr int kMultiprocessorCount = 16, kCapabilityMajor = 75, kCapabilityMinor = 76;
constexpr uint32_t kBlockThreads = 256;

template <typename Function>
absl::Status Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function != nullptr) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("the CUDA driver has no ", name));
}

class GpuExecutable final : public Executable {
 public:
  GpuExecutable(std::shared_ptr<GpuDevice> device, Signature signature, DevicePlan plan)
      : device_(std::move(device)), signature_(std::move(signature)), plan_(std::move(plan)) {}
  ~GpuExecutable() override {
    for (const uint64_t memory : {arena_, constants_, params_}) device_->Free(memory);
  }

  absl::Status Prepare() {
    const std::vector<int32_t> params = plan_.Params();
    const auto param_bytes = static_cast<int64_t>(params.size() * sizeof(int32_t));
    BITMILL_ASSIGN_OR_RETURN(arena_, device_->Allocate(plan_.arena_bytes));
    BITMILL_ASSIGN_OR_RETURN(constants_, device_->Allocate(plan_.constant_bytes));
    BITMILL_ASSIGN_OR_RETURN(params_, device_->Allocate(param_bytes));
    BITMILL_RETURN_IF_ERROR(
        device_->CopyIn(constants_, plan_.constants.data(), plan_.constant_bytes));
    return device_->CopyIn(params_, params.data(), param_bytes);
  }

  const Signature& signature() const override { return signature_; }
  int64_t max_rows() const override { return plan_.max_rows; }
  int64_t weight_bytes() const override { return plan_.constant_bytes; }
  int64_t arena_bytes() const override { return plan_.arena_bytes; }
  int64_t row_macs() const override { return plan_.row_macs; }
  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return std::make_unique<ExecutionContext>();
  }
  std::string DescribePlan() const override {
    return DescribeDevicePlan(plan_, absl::StrCat("on ", device_->name()));
  }

  absl::Status Run(const BatchRows& batch, ExecutionContext&) const override {
    BITMILL_RETURN_IF_ERROR(device_->Fill(arena_, 0xa5, plan_.arena_bytes));  // unwritten is seen
    for (size_t i = 0; i < plan_.inputs.size(); ++i) {
      for (int64_t r = 0; r < batch.rows; ++r) {
        BITMILL_RETURN_IF_ERROR(device_->CopyIn(Row(plan_.inputs[i].buffer, r), batch.inputs[i][r],
                                                signature_.inputs[i].row_bytes));
      }
    }
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      GpuDevice::Launch launch =
          LaunchOf(plan_.steps[s], static_cast<int32_t>(s), static_cast<int32_t>(batch.rows));
      launch.arena = arena_;
      launch.constants = constants_;
      launch.params = params_;
      BITMILL_RETURN_IF_ERROR(device_->Start(launch));
    }
    BITMILL_RETURN_IF_ERROR(device_->Wait());
    for (size_t i = 0; i < plan_.outputs.size(); ++i) {
      const DevicePort& port = plan_.outputs[i];
      if (port.buffer < 0) return absl::UnimplementedError("an output that is a constant");
      for (int64_t r = 0; r < batch.rows; ++r) {
        BITMILL_RETURN_IF_ERROR(device_->CopyOut(batch.outputs[i][r], Row(port.buffer, r),
                                                 signature_.outputs[i].row_bytes));
      }
    }
    return absl::OkStatus();
  }

 private:
  uint64_t Row(int32_t buffer, int64_t row) const {
    const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
    return arena_ + static_cast<uint64_t>(memory.offset + row * memory.stride);
  }

  const std::shared_ptr<GpuDevice> device_;
  const Signature signature_;
  const DevicePlan plan_;
  uint64_t arena_ = 0, constants_ = 0, params_ = 0;
};

}  // namespace

absl::Status GpuDevice::Check(int error, const char* call) const {
  if (error == 0) return absl::OkStatus();
  const char* name = nullptr;
  calls_->error_name(error, &name);
  return absl::InternalError(
      absl::StrCat(call, ": ", name != nullptr ? name : "", " (", error, ")"));
}

absl::StatusOr<std::shared_ptr<GpuDevice>> GpuDevice::Open(const std::string& library) {
  std::shared_ptr<GpuDevice> device(new GpuDevice);
  device->calls_ = std::make_unique<Calls>();
  Calls& calls = *device->calls_;
  calls.library = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (calls.library == nullptr) {
    return absl::NotFoundError(absl::StrCat("no CUDA device: ", library, " cannot be opened"));
  }
#define BITMILL_CALL(name, field) BITMILL_RETURN_IF_ERROR(Find(calls.library, name, calls.field))
  BITMILL_CALL("cuInit", init);
  BITMILL_CALL("cuDriverGetVersion", version);
  BITMILL_CALL("cuDeviceGetCount", count);
  BITMILL_CALL("cuDeviceGet", device);
  BITMILL_CALL("cuDeviceGetName", device_name);
  BITMILL_CALL("cuDeviceGetAttribute", attribute);
  BITMILL_CALL("cuDevicePrimaryCtxRetain", retain);
  BITMILL_CALL("cuCtxSetCurrent", set_current);
  BITMILL_CALL("cuModuleLoadData", load);
  BITMILL_CALL("cuModuleGetFunction", function);
  BITMILL_CALL("cuMemAlloc_v2", allocate);
  BITMILL_CALL("cuMemFree_v2", free);
  BITMILL_CALL("cuMemsetD8_v2", fill);
  BITMILL_CALL("cuMemcpyHtoD_v2", copy_in);
  BITMILL_CALL("cuMemcpyDtoH_v2", copy_out);
  BITMILL_CALL("cuMemcpyDtoDAsync_v2", copy_within);
  BITMILL_CALL("cuLaunchKernel", launch);
  BITMILL_CALL("cuCtxSynchronize", wait);
  BITMILL_CALL("cuEventCreate", make_event);
  BITMILL_CALL("cuEventRecord", record);
  BITMILL_CALL("cuEventElapsedTime", elapsed);
  BITMILL_CALL("cuEventDestroy_v2", destroy_event);
  BITMILL_CALL("cuGetErrorName", error_name);
#undef BITMILL_CALL
  int count = 0;
  if (calls.init(0) != 0 || calls.count(&count) != 0 || count == 0) {
    return absl::NotFoundError("no CUDA device: the driver has none");
  }
  int ordinal = 0, major = 0, minor = 0;
  char name[256] = {};
  BITMILL_RETURN_IF_ERROR(device->Check(calls.device(&ordinal, 0), "cuDeviceGet"));
  BITMILL_RETURN_IF_ERROR(
      device->Check(calls.device_name(name, sizeof(name) - 1, ordinal), "cuDeviceGetName"));
  device->name_ = name;
  for (const auto& [value, which] : {std::pair<int*, int>{&major, kCapabilityMajor},
                                     {&minor, kCapabilityMinor},
                                     {&device->multiprocessors_, kMultiprocessorCount}}) {
    BITMILL_RETURN_IF_ERROR(
        device->Check(calls.attribute(value, which, ordinal), "cuDeviceGetAttribute"));
  }
  device->capability_ = 10 * major + minor;
  BITMILL_RETURN_IF_ERROR(
      device->Check(calls.version(&device->driver_version_), "cuDriverGetVersion"));
  if (CudaImage().empty()) {
    return absl::FailedPreconditionError("this program was built without nvcc: it has no kernels");
  }
  void* context = nullptr;
  BITMILL_RETURN_IF_ERROR(
      device->Check(calls.retain(&context, ordinal), "cuDevicePrimaryCtxRetain"));
  BITMILL_RETURN_IF_ERROR(device->Check(calls.set_current(context), "cuCtxSetCurrent"));
  BITMILL_RETURN_IF_ERROR(
      device->Check(calls.load(&device->module_, CudaImage().data()), "cuModuleLoadData"));
  return device;
}

// The driver keeps its context until the program ends; unloading it is its own business.
GpuDevice::~GpuDevice() = default;

absl::StatusOr<uint64_t> GpuDevice::Allocate(int64_t bytes) {
  unsigned long long memory = 0;
  BITMILL_RETURN_IF_ERROR(Check(
      calls_->allocate(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1))), "cuMemAlloc"));
  return memory;
}

void GpuDevice::Free(uint64_t memory) {
  if (memory != 0) calls_->free(memory);
}

absl::Status GpuDevice::Fill(uint64_t to, unsigned char value, int64_t bytes) {
  return Check(calls_->fill(to, value, static_cast<size_t>(bytes)), "cuMemsetD8");
}

absl::Status GpuDevice::CopyIn(uint64_t to, const void* from, int64_t bytes) {
  return Check(calls_->copy_in(to, from, static_cast<size_t>(bytes)), "cuMemcpyHtoD");
}

absl::Status GpuDevice::CopyOut(void* to, uint64_t from, int64_t bytes) {
  return Check(calls_->copy_out(to, from, static_cast<size_t>(bytes)), "cuMemcpyDtoH");
}

absl::Status GpuDevice::CopyWithin(uint64_t to, uint64_t from, int64_t bytes) {
  return Check(calls_->copy_within(to, from, static_cast<size_t>(bytes), nullptr),
               "cuMemcpyDtoDAsync");
}

absl::Status GpuDevice::Start(const Launch& launch) {
  void* function = nullptr;
  BITMILL_RETURN_IF_ERROR(
      Check(calls_->function(&function, module_, launch.kernel.c_str()), launch.kernel.c_str()));
  uint64_t arena = launch.arena, constants = launch.constants, params = launch.params;
  int32_t step = launch.step, rows = launch.rows;
  void* arguments[] = {&arena, &constants, &params, &step, &rows};
  return Check(calls_->launch(function, launch.grid_x, launch.grid_y, launch.grid_z, launch.threads,
                              1, 1, launch.shared_bytes, nullptr, arguments, nullptr),
               launch.kernel.c_str());
}

absl::Status GpuDevice::Wait() { return Check(calls_->wait(), "cuCtxSynchronize"); }

absl::StatusOr<double> GpuDevice::Time(const std::function<absl::Status()>& work) {
  void* events[2] = {};
  for (void*& event : events) {
    BITMILL_RETURN_IF_ERROR(Check(calls_->make_event(&event, 0), "cuEventCreate"));
  }
  BITMILL_RETURN_IF_ERROR(Check(calls_->record(events[0], nullptr), "cuEventRecord"));
  BITMILL_RETURN_IF_ERROR(work());
  BITMILL_RETURN_IF_ERROR(Check(calls_->record(events[1], nullptr), "cuEventRecord"));
  BITMILL_RETURN_IF_ERROR(Wait());
  float milliseconds = 0.0F;
  BITMILL_RETURN_IF_ERROR(
      Check(calls_->elapsed(&milliseconds, events[0], events[1]), "cuEventElapsedTime"));
  for (void* event : events) calls_->destroy_event(event);
  return static_cast<double>(milliseconds);
}

GpuDevice::Launch LaunchOf(const DeviceStep& step, int32_t number, int32_t rows) {
  GpuDevice::Launch launch;
  launch.kernel = step.kernel_of(rows);
  launch.step = number;
  launch.rows = rows;
  const DeviceTiles& tiles = step.tiles_of(rows);
  if (tiles.threads == 0) {
    launch.threads = step.group_items > 0 ? static_cast<uint32_t>(step.group_items) : kBlockThreads;
    launch.grid_x =
        (static_cast<uint32_t>(step[device::kItems]) + launch.threads - 1) / launch.threads;
    launch.grid_z = static_cast<uint32_t>(rows);
    return launch;
  }
  const auto groups = step.groups_of(rows);
  launch.threads = static_cast<uint32_t>(tiles.threads);
  launch.shared_bytes = static_cast<uint32_t>(tiles.shared_bytes);
  launch.grid_x = static_cast<uint32_t>(groups[0]);
  launch.grid_y = static_cast<uint32_t>(groups[1]);
  return launch;
}

absl::StatusOr<std::unique_ptr<Executable>> MakeGpuExecutable(std::shared_ptr<GpuDevice> device,
                                                              Signature signature,
                                                              DevicePlan plan) {
  if (plan.host_steps() > 0) return absl::UnimplementedError("a step without a kernel");
  auto executable =
      std::make_unique<GpuExecutable>(std::move(device), std::move(signature), std::move(plan));
  BITMILL_RETURN_IF_ERROR(executable->Prepare());
  return executable;
}

}  // namespace bitmill
