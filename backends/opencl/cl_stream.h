// What one running batch needs of an OpenCL device: queue, arena, kernels with their arguments set
// for good (none depends on the batch), pinned memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/device/device_plan.h"
#include "backends/device/device_stream.h"
#include "backends/opencl/cl_device.h"

namespace bitmill {

class ClStream final : public DeviceStream {
 public:
  // Borrows all but the device; errors of the driver.
  static absl::StatusOr<std::unique_ptr<ClStream>> Create(std::shared_ptr<ClDevice> device,
                                                          const DevicePlan& plan,
                                                          const HostLayout& layout,
                                                          cl_mem constants, cl_mem params);
  ~ClStream() override;
  ClStream(const ClStream&) = delete;
  ClStream& operator=(const ClStream&) = delete;

  std::byte* host() const override { return host_; }
  absl::Status Write(int32_t buffer, int64_t rows, int32_t operation) override;
  absl::Status Read(int32_t buffer, int64_t rows, int32_t operation) override;
  absl::Status Launch(size_t step, int64_t rows, int32_t operation) override;
  absl::Status Finish() override;
  // Of drivers without profiling: nothing.
  void TakeTimes(absl::Span<int64_t> ns) override;

 private:
  struct TimedCommand {
    int32_t operation = 0;
    cl_event event = nullptr;
  };

  ClStream(std::shared_ptr<ClDevice> device, const DevicePlan& plan, const HostLayout& layout);
  absl::Status Prepare(cl_mem constants, cl_mem params);
  absl::Status PinHostMemory();
  cl_event* NewEvent(int32_t operation);

  const std::shared_ptr<ClDevice> device_;
  const DevicePlan& plan_;
  const HostLayout& layout_;
  ClQueueHandle queue_;
  ClMemoryHandle arena_, pinned_;
  std::byte* host_ = nullptr;            // pinned_, mapped
  std::vector<ClKernelHandle> kernels_;  // of each step; empty for host steps
  std::vector<TimedCommand> commands_;
};

}  // namespace bitmill
