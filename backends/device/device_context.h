// A stream and its host memory. A context of DeviceExecutable has one, or several that compute
// shares of a batch at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/device/device_plan.h"
#include "backends/device/device_stream.h"
#include "base/tensor.h"

namespace bitmill {

// One call at a time.
class DeviceContext {
 public:
  // Borrows plan and layout. `stream` may be an error.
  DeviceContext(const DevicePlan& plan, const HostLayout& layout,
                absl::StatusOr<std::unique_ptr<DeviceStream>> stream);

  // Why it cannot run; OK when it can, and only then there is a stream.
  const absl::Status& status() const { return status_; }
  DeviceStream& stream() { return *stream_; }

  // Row r of a buffer that the host reads or writes.
  std::byte* HostRow(int32_t buffer, int64_t row) const;
  // Runs a host step between two waits for the device.
  absl::Status RunHostStep(size_t step, int64_t rows);

  // Batches of so many rows can be replayed.
  void SetRecorded(int64_t rows) { recorded_.push_back(rows); }
  bool recorded(int64_t rows) const;

 private:
  const DevicePlan& plan_;
  const HostLayout& layout_;
  absl::Status status_;
  std::unique_ptr<DeviceStream> stream_;
  std::vector<int64_t> recorded_;
  std::vector<TensorView> inputs_;  // of host steps
  std::vector<MutableTensorView> outputs_;
};

}  // namespace bitmill
