// What one running batch needs of a device: queue, arena, kernels, pinned memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/device/device_plan.h"
#include "backends/opencl/cl_device.h"

namespace bitmill {

// One call at a time. Steps are enqueued in order; nothing is complete before Finish().
class ClExecutionContext final : public ExecutionContext {
 public:
  // `plan`, `constants` and `params` outlive this.
  ClExecutionContext(std::shared_ptr<ClDevice> device, const DevicePlan& plan, cl_mem constants,
                     cl_mem params);
  ~ClExecutionContext() override;
  ClExecutionContext(const ClExecutionContext&) = delete;
  ClExecutionContext& operator=(const ClExecutionContext&) = delete;

  // Why it cannot run; OK when it can.
  const absl::Status& status() const { return status_; }

  // Row r of a buffer that the host reads or writes, in pinned memory.
  std::byte* HostRow(int32_t buffer, int64_t row) const;

  // Copies `rows` rows of the buffer to the device, or back.
  absl::Status EnqueueWrite(int32_t buffer, int64_t rows);
  absl::Status EnqueueRead(int32_t buffer, int64_t rows);
  absl::Status EnqueueStep(size_t step, int64_t rows);
  // Runs a host step between two waits for the queue.
  absl::Status RunHostStep(size_t step, int64_t rows);
  // Waits for all that was enqueued, also after an error.
  absl::Status Finish();

  // From now on commands are timed; TakeTimes() ends that, after Finish().
  void BeginTimes();
  // Adds to ns[i] what command i took, in the order of enqueuing, and to the last two entries of
  // `ns` what passed between without any of them running: until the driver had handed the next to
  // the device, and from then until it started. Of drivers without profiling: nothing.
  void TakeTimes(absl::Span<int64_t> ns);

 private:
  absl::Status Prepare(cl_mem constants, cl_mem params);
  absl::Status PinHostMemory();
  cl_event* NewEvent();

  const std::shared_ptr<ClDevice> device_;
  const DevicePlan& plan_;
  absl::Status status_;
  ClQueueHandle queue_;
  ClMemoryHandle arena_, pinned_;
  std::byte* host_ = nullptr;            // pinned_, mapped
  std::vector<int64_t> host_offsets_;    // of each buffer; -1 when the host has nothing to do there
  std::vector<ClKernelHandle> kernels_;  // of each step; empty for host steps
  std::vector<cl_event> events_;
  bool timed_ = false;
};

}  // namespace bitmill
