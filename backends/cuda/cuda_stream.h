// What one running batch needs of a CUDA device: a stream that waits for no other, the arena,
// page-locked memory, events, and graphs of batches that were recorded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "backends/cuda/cuda_device.h"
#include "backends/device/device_plan.h"
#include "backends/device/device_stream.h"
#include "base/clock.h"

namespace bitmill {

// What the streams of a plan share; outlives them.
struct CudaUploads {
  CuPointer constants = 0, params = 0;
  std::vector<CuFunction> kernels;      // of each step; null for host steps
  std::vector<CuFunction> few_kernels;  // of each step; null where it has none for few rows
};

class CudaStream final : public DeviceStream {
 public:
  // Borrows all but the device; errors of the driver.
  static absl::StatusOr<std::unique_ptr<CudaStream>> Create(std::shared_ptr<CudaDevice> device,
                                                            const DevicePlan& plan,
                                                            const HostLayout& layout,
                                                            const CudaUploads& uploads);
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  std::byte* host() const override { return static_cast<std::byte*>(host_.get()); }
  absl::Status Begin() override { return device_->Enter(); }
  absl::Status Write(int32_t buffer, int64_t rows, int32_t operation) override;
  absl::Status Read(int32_t buffer, int64_t rows, int32_t operation) override;
  absl::Status Launch(size_t step, int64_t rows, int32_t operation) override;
  absl::Status Finish() override;
  // A command's time is that from the end of the one before to its own end, so what the device
  // waits for a launch is the kernel's. What the calling thread waited beyond all of them is added
  // to the last but one entry of `ns`; CUDA does not tell when a command was handed over.
  void TakeTimes(absl::Span<int64_t> ns) override;
  // Unimplemented when the driver has no graphs.
  absl::Status Record(int64_t rows, const std::function<absl::Status()>& enqueue) override;
  absl::Status Replay(int64_t rows) override;

 private:
  CudaStream(std::shared_ptr<CudaDevice> device, const DevicePlan& plan, const HostLayout& layout,
             const CudaUploads& uploads);
  absl::Status Prepare();
  absl::Status Capture(const std::function<absl::Status()>& enqueue, CudaGraphHandle& graph);
  // Before and after each command.
  absl::Status BeginTime(int32_t operation);
  absl::Status EndTime(int32_t operation);
  absl::Status Mark(int32_t operation);

  const std::shared_ptr<CudaDevice> device_;
  const DevicePlan& plan_;
  const HostLayout& layout_;
  const CudaUploads& uploads_;
  const SystemClock clock_;
  CudaStreamHandle stream_;
  CudaMemory arena_;
  CudaHostMemory host_;
  std::map<int64_t, CudaGraphExecHandle> graphs_;  // by rows
  std::vector<CudaEventHandle> events_;            // one a mark, made when they are needed first
  // Points in the stream since the last TakeTimes(): the end of a command that is timed, or
  // kUntimed, where the next one begins.
  std::vector<int32_t> marks_;
  bool untimed_between_ = false;  // something was enqueued behind the last mark
  MonotonicNanos timed_since_ = 0, timed_until_ = 0;
};

}  // namespace bitmill
