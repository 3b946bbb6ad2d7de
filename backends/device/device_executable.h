// A device plan that runs on a device, whatever its API. See Executable for the contract.
//
// Constants and parameters are uploaded once. A context has a stream with its arena, and host
// memory that rows are gathered in and scattered from. A batch is copied in, one kernel a step is
// enqueued, the outputs are copied out, and the calling thread waits once.
//
// Where streams record, a context has recordings of batches of 1, 2, 4 .. rows and of the largest
// batch: launching one costs as much as a command. Between two sizes a batch is padded to the next
// one, as long as the padding is less work than launches one by one are.
//
// Where the plan is for fewer rows than a batch may have, a batch of more is computed in shares,
// each on a stream of its own: while one is computed the next is gathered and copied to the device,
// and the one before copied back and scattered. Shares have no memory beyond what the whole would
// need.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/device/device_plan.h"
#include "backends/device/device_stream.h"
#include "kernels/pack/pack_table.h"

namespace bitmill {

class DeviceContext;

class DeviceExecutable final : public Executable {
 public:
  // `max_rows`: of a batch; left out, those of the plan. ResourceExhausted when the device has no
  // memory for the constants.
  static absl::StatusOr<std::unique_ptr<DeviceExecutable>> Create(
      std::shared_ptr<const PlanDevice> device, Signature signature, DevicePlan plan,
      int64_t max_rows = 0);

  const Signature& signature() const override { return signature_; }
  std::string backend_name() const override { return device_->backend_name(); }
  int64_t max_rows() const override { return max_rows_; }
  int64_t weight_bytes() const override { return plan_.constant_bytes; }
  int64_t arena_bytes() const override { return shares_ * plan_.arena_bytes; }
  std::vector<MemoryUse> memory(int64_t contexts) const override;
  int64_t computed_rows(int64_t rows) const override;
  int64_t row_macs() const override { return plan_.row_macs; }
  // A context that could not be made says so when it runs.
  std::unique_ptr<ExecutionContext> CreateContext() const override;
  // Errors of the device: Unavailable when it is gone, ResourceExhausted, Internal.
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override;
  // The time of the device: each kernel from its start to its end, copies likewise; the last two
  // operations are what passed without any of them running, see DeviceStream::TakeTimes. A batch
  // that is timed is not replayed.
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override;
  std::vector<Operation> operations() const override;
  std::string DescribePlan() const override;

  const DevicePlan& plan() const { return plan_; }

 private:
  // Rows of a batch that a stream computes.
  struct Share {
    int64_t first = 0, rows = 0;
  };

  DeviceExecutable(std::shared_ptr<const PlanDevice> device, Signature signature, DevicePlan plan,
                   int64_t max_rows);

  int64_t SharesFor(int64_t rows) const { return rows > plan_.max_rows ? shares_ : 1; }
  absl::Status CheckBatch(const BatchRows& batch) const;
  // Gathers a share and enqueues all of it.
  absl::Status StartShare(const BatchRows& batch, Share share, DeviceContext& lane,
                          bool timed) const;
  absl::Status EnqueueAll(DeviceContext& context, int64_t rows, bool timed) const;
  void RecordBatches(DeviceContext& context) const;
  void Gather(const BatchRows& batch, Share share, const DeviceContext& context) const;
  void Scatter(const BatchRows& batch, Share share, const DeviceContext& context) const;

  const std::shared_ptr<const PlanDevice> device_;
  const Signature signature_;
  DevicePlan plan_;  // of a share
  const int64_t max_rows_;
  const int64_t shares_;  // at most, of a batch
  HostLayout layout_;
  const PackKernel& pack_;         // for inputs that the host makes bits of
  std::vector<int64_t> recorded_;  // sizes of batches, ascending; empty: nothing is recorded
  mutable std::atomic<bool> recording_failed_ = false;
  std::unique_ptr<UploadedPlan> uploaded_;
};

// 1, 2, 4 .. below max_rows, then max_rows; none for a plan with host steps, which nothing replays.
std::vector<int64_t> RecordedSizes(const DevicePlan& plan);

// The size of `recorded` that a batch of `rows` is computed as; 0: none, it is enqueued as it is.
int64_t RecordedSizeFor(const std::vector<int64_t>& recorded, const DevicePlan& plan, int64_t rows);

// How many rows a plan should be made for, so that batches of plan.max_rows are computed in shares
// whose copies run beside kernels; plan.max_rows where copies are too short for that to pay.
int64_t ShareRows(const PlanDevice& device, const DevicePlan& plan);

}  // namespace bitmill
