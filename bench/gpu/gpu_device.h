// One CUDA device with the program's kernels, through the driver alone, as the benchmark needs it:
// everything synchronous, one thing at a time, an error says which call failed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/device/device_plan.h"

namespace bitmill {

class GpuDevice {
 public:
  // `library` is libcuda.so.1 or something like it. NotFound when there is no driver or no device,
  // FailedPrecondition when the program has no kernels.
  static absl::StatusOr<std::shared_ptr<GpuDevice>> Open(const std::string& library);
  ~GpuDevice();
  GpuDevice(const GpuDevice&) = delete;
  GpuDevice& operator=(const GpuDevice&) = delete;

  const std::string& name() const { return name_; }
  int compute_capability() const { return capability_; }  // 90
  int multiprocessors() const { return multiprocessors_; }
  int driver_version() const { return driver_version_; }

  absl::StatusOr<uint64_t> Allocate(int64_t bytes);
  void Free(uint64_t memory);
  absl::Status Fill(uint64_t to, unsigned char value, int64_t bytes);
  absl::Status CopyIn(uint64_t to, const void* from, int64_t bytes);
  absl::Status CopyOut(void* to, uint64_t from, int64_t bytes);
  absl::Status CopyWithin(uint64_t to, uint64_t from, int64_t bytes);  // not waited for

  struct Launch {
    std::string kernel;
    uint32_t grid_x = 1, grid_y = 1, grid_z = 1, threads = 1, shared_bytes = 0;
    uint64_t arena = 0, constants = 0, params = 0;
    int32_t step = 0, rows = 1;
  };
  absl::Status Start(const Launch& launch);  // not waited for
  absl::Status Wait();

  // Milliseconds of the device between the start and the end of what `work` starts.
  absl::StatusOr<double> Time(const std::function<absl::Status()>& work);

 private:
  struct Calls;
  GpuDevice() = default;
  absl::Status Check(int error, const char* call) const;

  std::unique_ptr<Calls> calls_;
  std::string name_;
  int capability_ = 0, multiprocessors_ = 0, driver_version_ = 0;
  void* module_ = nullptr;
};

// How a step is launched for `rows` rows.
GpuDevice::Launch LaunchOf(const DeviceStep& step, int32_t number, int32_t rows);

// A plan on the device; Unimplemented when it has host steps.
absl::StatusOr<std::unique_ptr<Executable>> MakeGpuExecutable(std::shared_ptr<GpuDevice> device,
                                                              Signature signature, DevicePlan plan);

}  // namespace bitmill
