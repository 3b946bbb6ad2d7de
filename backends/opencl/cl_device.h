// An opened device with the compiled kernels, shared by all models that run on it.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/opencl/cl_api.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/program_cache.h"
#include "base/mutex.h"

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
  // How the kernels came about: "compiled in 1830 ms", "from cache, 4 ms".
  const std::string& origin() const { return origin_; }
  // Items of a work group.
  size_t group_items() const { return group_items_; }

  // `data`, of as many bytes, may be null.
  absl::StatusOr<ClMemoryHandle> NewBuffer(int64_t bytes, cl_mem_flags flags,
                                           const void* data) const;
  // In order, with profiling.
  absl::StatusOr<ClQueueHandle> NewQueue() const;
  absl::StatusOr<ClKernelHandle> NewKernel(const std::string& name) const;

  // These kernels have run: drivers compile to the end only then. Saves the program in the cache
  // when one of them is new. What goes wrong is a line in the log.
  void NoteKernelsThatRan(const std::set<std::string>& kernels);

 private:
  ClDevice(std::shared_ptr<const ClApi> api, const ClDeviceInfo& info, const ProgramCache& cache);

  absl::Status BuildProgram();
  absl::Status BuildFromCache();
  absl::Status BuildFromSource();
  absl::Status FinishBuild(ClProgramHandle program);
  absl::StatusOr<std::string> Binary() const;

  const std::shared_ptr<const ClApi> api_;
  const ClDeviceInfo info_;
  const ProgramCache cache_;
  const std::string options_;
  const ProgramKey key_;
  size_t group_items_ = 1;
  std::string origin_;
  ClContextHandle context_;
  ClProgramHandle program_;
  Mutex mutex_;
  std::set<std::string> saved_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
