// What running a device plan asks of a device's API. One implementation an API: backends/opencl,
// backends/cuda.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/device/device_plan.h"

namespace bitmill {

// Where the rows that the host reads or writes lie in its memory: those of inputs, outputs and
// operands of host steps, buffer by buffer, rows as far apart as on the device.
struct HostLayout {
  std::vector<int64_t> offsets;  // of each buffer's row 0; -1 when the host has nothing to do there
  int64_t bytes = 0;
};
HostLayout LayOutHost(const DevicePlan& plan);

// A stream of commands with its arena and its host memory: what one running batch needs. Commands
// run in the order in which they are enqueued; nothing is complete before Finish(). One call at a
// time, from any thread. `operation` says to what a command's time is added; kUntimed: to nothing.
//
// Errors: Unavailable when the device is gone, ResourceExhausted, Internal.
class DeviceStream {
 public:
  static constexpr int32_t kUntimed = -1;

  virtual ~DeviceStream() = default;

  // HostLayout::bytes of memory, zero at first, that copies reach without another copy.
  virtual std::byte* host() const = 0;

  // Comes before the calls of a batch, on the thread that makes them.
  virtual absl::Status Begin() { return absl::OkStatus(); }
  // Copies the first `rows` rows of a buffer of the host's to the device, or back.
  virtual absl::Status Write(int32_t buffer, int64_t rows, int32_t operation) = 0;
  virtual absl::Status Read(int32_t buffer, int64_t rows, int32_t operation) = 0;
  virtual absl::Status Launch(size_t step, int64_t rows, int32_t operation) = 0;
  // Waits for all that was enqueued, also after an error.
  virtual absl::Status Finish() = 0;

  // After Finish(): adds to ns[operation] what each command took on the device, and to the last two
  // entries what passed without any of them running: until the next had been handed to the device,
  // and from then until it started. What an API does not tell stays out.
  virtual void TakeTimes(absl::Span<int64_t> ns) = 0;

  // Keeps what `enqueue` enqueues for Replay(), instead of running it. An error leaves the stream
  // as it was; batches are then enqueued command by command.
  virtual absl::Status Record(int64_t rows, const std::function<absl::Status()>& enqueue) {
    static_cast<void>(rows);
    static_cast<void>(enqueue);
    return absl::UnimplementedError("no recording");
  }
  // Enqueues what was recorded for as many rows, as one command.
  virtual absl::Status Replay(int64_t rows) {
    static_cast<void>(rows);
    return absl::UnimplementedError("no recording");
  }
};

// The constants and parameters of a plan, on a device. Thread-safe.
class UploadedPlan {
 public:
  virtual ~UploadedPlan() = default;
  // Borrows the plan, which is the one that was uploaded, and the layout.
  virtual absl::StatusOr<std::unique_ptr<DeviceStream>> NewStream(
      const DevicePlan& plan, const HostLayout& layout) const = 0;
};

// An opened device. Thread-safe.
class PlanDevice {
 public:
  virtual ~PlanDevice() = default;
  virtual std::string backend_name() const = 0;       // "opencl"
  virtual std::string name() const = 0;               // of the device, as its driver says
  virtual int64_t memory_bytes() const { return 0; }  // that it has in all; 0: not known
  // As CompileOptions::gpus counts; -1: the device is none of those.
  virtual int gpu_number() const { return -1; }
  // For people: "OpenCL device NAME (platform), kernels from cache, 4 ms".
  virtual std::string Description() const = 0;
  virtual ChooseConvTile conv_tiles() const = 0;
  // Other tiles of that shape, one of which may be faster here (tune_tiles.h).
  virtual std::vector<ConvTile> OtherTiles(const ConvShape& shape) const {
    static_cast<void>(shape);
    return {};
  }
  // Whether Keep() may keep something.
  virtual bool keeps() const { return false; }
  // Bytes that outlive the process, for this device with this driver and these kernels. NotFound
  // when nothing is kept under that name; otherwise why it is not to be trusted.
  virtual absl::StatusOr<std::string> LoadKept(const std::string& name) const {
    return absl::NotFoundError(name);
  }
  virtual absl::Status Keep(const std::string& name, const std::string& bytes) const {
    static_cast<void>(bytes);
    return absl::UnimplementedError(name);
  }
  // Whether plans may have steps of that kernel.
  virtual bool HasKernel(const std::string& kernel) const {
    static_cast<void>(kernel);
    return true;
  }
  // A multiple of 256: that many items of each of 8 rows keep all of the device busy.
  virtual int32_t busy_items() const { return 1024; }
  // Whether the host should make bits of the floats that only a sign or threshold is taken of,
  // before they are copied: where copies are slow beside the host's memory.
  virtual bool wants_input_bits() const { return false; }
  // Whether copies of one stream run beside kernels of another, and take long enough for that to
  // matter.
  virtual bool overlaps_copies() const { return false; }
  // Whether streams record.
  virtual bool records() const { return false; }
  // ResourceExhausted when the device has no memory for it.
  virtual absl::StatusOr<std::unique_ptr<UploadedPlan>> Upload(const DevicePlan& plan) const = 0;
};

}  // namespace bitmill
