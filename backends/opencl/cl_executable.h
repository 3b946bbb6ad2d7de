// A device plan that runs on an OpenCL device. See Executable for the contract.
//
// Constants and parameters are uploaded once. A context has a queue, an arena, kernels with their
// arguments set for good (none depends on the batch), and pinned memory that rows are gathered in
// and scattered from. A batch is copied in, one kernel a step is enqueued, the outputs are copied
// out, and the calling thread waits once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/device/device_plan.h"
#include "backends/opencl/cl_device.h"

namespace bitmill {

class ClExecutionContext;

class ClExecutable final : public Executable {
 public:
  // ResourceExhausted when the device has no memory for the constants.
  static absl::StatusOr<std::unique_ptr<ClExecutable>> Create(std::shared_ptr<ClDevice> device,
                                                              Signature signature, DevicePlan plan);

  const Signature& signature() const override { return signature_; }
  std::string backend_name() const override { return "opencl"; }
  int64_t max_rows() const override { return plan_.max_rows; }
  int64_t weight_bytes() const override { return plan_.constant_bytes; }
  int64_t arena_bytes() const override { return plan_.arena_bytes; }
  std::vector<MemoryUse> memory(int64_t contexts) const override;
  int64_t row_macs() const override { return plan_.row_macs; }
  // A context that could not be made says so when it runs.
  std::unique_ptr<ExecutionContext> CreateContext() const override;
  // Errors of the device: Unavailable when it is gone, ResourceExhausted, Internal.
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override;
  // The time of the device: each kernel from its start to its end, copies likewise. What passed
  // between the first command's enqueuing and the last one's end without any of them running are
  // the last operations: "device queued", until the driver had handed over the command that came
  // next, and "device submitted", from then until it started.
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override;
  std::vector<Operation> operations() const override;
  std::string DescribePlan() const override;

  const DevicePlan& plan() const { return plan_; }

 private:
  ClExecutable(std::shared_ptr<ClDevice> device, Signature signature, DevicePlan plan);

  absl::Status CheckBatch(const BatchRows& batch) const;
  absl::Status RunOn(const BatchRows& batch, ClExecutionContext& context,
                     OperationTimes* times) const;
  void ScatterOutputs(const BatchRows& batch, const ClExecutionContext& context) const;

  const std::shared_ptr<ClDevice> device_;
  const Signature signature_;
  DevicePlan plan_;
  ClMemoryHandle constants_, params_;
};

}  // namespace bitmill
