// An opened device with the compiled kernels, shared by all models that run on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/opencl/cl_api.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/program_cache.h"

namespace bitmill {

// Thread-safe. Outlives what was made with it.
class ClDevice {
 public:
  // Compiles the kernels, or takes them from the cache. FailedPrecondition when the driver's
  // compiler fails, with the beginning of what it said.
  static absl::StatusOr<std::shared_ptr<ClDevice>> Open(std::shared_ptr<const ClApi> api,
                                                        const ClDeviceInfo& info,
                                                        const ProgramCache& cache);

  const ClApi& api() const { return *api_; }
  const ClDeviceInfo& info() const { return info_; }
  // Files for this device with this driver and these kernels: of a name each.
  const ProgramCache& cache() const { return cache_; }
  ProgramKey KeyOf(const std::string& name) const;
  // How the kernels came about: "compiled in 1830 ms", "from cache, 4 ms".
  const std::string& origin() const { return origin_; }

  // `data`, of as many bytes, may be null.
  absl::StatusOr<ClMemoryHandle> NewBuffer(int64_t bytes, cl_mem_flags flags,
                                           const void* data) const;
  // In order, with profiling.
  absl::StatusOr<ClQueueHandle> NewQueue() const;
  // Of its program.
  bool HasKernel(const std::string& name) const;
  // With its arguments, as every kernel has them (kernels/opencl/common.cl).
  absl::StatusOr<ClKernelHandle> NewKernel(const std::string& name, cl_mem arena, cl_mem constants,
                                           cl_mem params, cl_int step) const;
  // `items` of each of `rows`, in whole work groups of so many; 0: as is usual. `event` may be
  // null.
  cl_int Enqueue(cl_command_queue queue, cl_kernel kernel, int64_t items, int64_t rows,
                 int32_t group_items, cl_event* event) const;

 private:
  ClDevice(std::shared_ptr<const ClApi> api, const ClDeviceInfo& info, const ProgramCache& cache);

  absl::Status BuildProgram();
  absl::Status BuildFromCache();
  absl::Status BuildFromSource();
  absl::Status FinishBuild(ClProgramHandle program);
  absl::Status RunEachKernel() const;
  absl::StatusOr<std::string> KernelNames() const;
  absl::StatusOr<std::string> Binary() const;
  void SaveProgram() const;

  const std::shared_ptr<const ClApi> api_;
  const ClDeviceInfo info_;
  const ProgramCache cache_;
  const std::string options_;
  const ProgramKey key_;
  std::string origin_;
  ClContextHandle context_;
  ClProgramHandle program_;
};

}  // namespace bitmill
