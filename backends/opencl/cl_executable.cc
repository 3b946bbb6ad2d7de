#include "backends/opencl/cl_executable.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/opencl/cl_context.h"
#include "base/status_macros.h"

namespace bitmill {

ClExecutable::ClExecutable(std::shared_ptr<ClDevice> device, Signature signature, DevicePlan plan)
    : device_(std::move(device)), signature_(std::move(signature)), plan_(std::move(plan)) {}

absl::StatusOr<std::unique_ptr<ClExecutable>> ClExecutable::Create(std::shared_ptr<ClDevice> device,
                                                                   Signature signature,
                                                                   DevicePlan plan) {
  std::unique_ptr<ClExecutable> executable(
      new ClExecutable(std::move(device), std::move(signature), std::move(plan)));
  DevicePlan& own = executable->plan_;
  BITMILL_ASSIGN_OR_RETURN(
      executable->constants_,
      executable->device_->NewBuffer(own.constant_bytes, CL_MEM_READ_ONLY, own.constants.data()));
  own.constants = std::string();  // the device has them
  const std::vector<int32_t> params = own.Params();
  BITMILL_ASSIGN_OR_RETURN(
      executable->params_,
      executable->device_->NewBuffer(static_cast<int64_t>(params.size() * sizeof(int32_t)),
                                     CL_MEM_READ_ONLY, params.data()));
  return executable;
}

std::unique_ptr<ExecutionContext> ClExecutable::CreateContext() const {
  return std::make_unique<ClExecutionContext>(device_, plan_, constants_.get(), params_.get());
}

absl::Status ClExecutable::CheckBatch(const BatchRows& batch) const {
  if (batch.rows < 1 || batch.rows > plan_.max_rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("a batch of ", batch.rows, " rows; 1 to ", plan_.max_rows, " are possible"));
  }
  if (batch.inputs.size() != plan_.inputs.size() || batch.outputs.size() != plan_.outputs.size()) {
    return absl::InternalError(absl::StrCat("a batch of ", batch.inputs.size(), " inputs and ",
                                            batch.outputs.size(), " outputs; the model has ",
                                            plan_.inputs.size(), " and ", plan_.outputs.size()));
  }
  return absl::OkStatus();
}

absl::Status ClExecutable::RunOn(const BatchRows& batch, ClExecutionContext& context,
                                 OperationTimes* times) const {
  if (times != nullptr) context.BeginTimes();
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    const int32_t buffer = plan_.inputs[i].buffer;
    const auto bytes = static_cast<size_t>(signature_.inputs[i].row_bytes);
    for (int64_t r = 0; r < batch.rows; ++r) {
      std::memcpy(context.HostRow(buffer, r), batch.inputs[i][r], bytes);
    }
    BITMILL_RETURN_IF_ERROR(context.EnqueueWrite(buffer, batch.rows));
  }
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    BITMILL_RETURN_IF_ERROR(plan_.steps[s].host != nullptr ? context.RunHostStep(s, batch.rows)
                                                           : context.EnqueueStep(s, batch.rows));
  }
  for (const DevicePort& port : plan_.outputs) {
    if (port.buffer >= 0) {
      BITMILL_RETURN_IF_ERROR(context.EnqueueRead(port.buffer, batch.rows));
    }
  }
  return absl::OkStatus();
}

void ClExecutable::ScatterOutputs(const BatchRows& batch, const ClExecutionContext& context) const {
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    const DevicePort& port = plan_.outputs[i];
    const auto bytes = static_cast<size_t>(signature_.outputs[i].row_bytes);
    for (int64_t r = 0; r < batch.rows; ++r) {
      const void* const from =
          port.buffer >= 0 ? context.HostRow(port.buffer, r) : port.constant->data();
      std::memcpy(batch.outputs[i][r], from, bytes);
    }
  }
}

absl::Status ClExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  BITMILL_RETURN_IF_ERROR(CheckBatch(batch));
  auto& own = static_cast<ClExecutionContext&>(context);
  BITMILL_RETURN_IF_ERROR(own.status());
  const absl::Status enqueued = RunOn(batch, own, nullptr);
  const absl::Status finished = own.Finish();  // the device may still be reading and writing
  BITMILL_RETURN_IF_ERROR(enqueued);
  BITMILL_RETURN_IF_ERROR(finished);
  ScatterOutputs(batch, own);
  return absl::OkStatus();
}

absl::Status ClExecutable::RunTimed(const BatchRows& batch, ExecutionContext& context,
                                    OperationTimes& times) const {
  BITMILL_RETURN_IF_ERROR(CheckBatch(batch));
  auto& own = static_cast<ClExecutionContext&>(context);
  BITMILL_RETURN_IF_ERROR(own.status());
  const absl::Status enqueued = RunOn(batch, own, &times);
  const absl::Status finished = own.Finish();
  own.TakeTimes(times.ns);
  BITMILL_RETURN_IF_ERROR(enqueued);
  BITMILL_RETURN_IF_ERROR(finished);
  ScatterOutputs(batch, own);
  times.rows += batch.rows;
  return absl::OkStatus();
}

std::vector<MemoryUse> ClExecutable::memory(int64_t contexts) const {
  const ClDeviceInfo& info = device_->info();
  return {{absl::StrCat("opencl:", info.name), plan_.constant_bytes + contexts * plan_.arena_bytes,
           info.memory_bytes}};
}

std::vector<Operation> ClExecutable::operations() const {
  std::vector<Operation> operations;
  const auto copy = [&](const char* name, const TensorSpec& spec) {
    operations.push_back({.name = absl::StrCat(name, " ", spec.name),
                          .kernel = "copy",
                          .ceiling = "",
                          .row_macs = 0,
                          .row_bytes = spec.row_bytes,
                          .weight_bytes = 0});
  };
  for (const TensorSpec& spec : signature_.inputs) copy("copy in", spec);
  for (const DeviceStep& step : plan_.steps) {
    operations.push_back({.name = step.name,
                          .kernel = step.kernel,
                          .ceiling = "",
                          .row_macs = step.macs,
                          .row_bytes = step.output_bytes,
                          .weight_bytes = step.weight_bytes});
  }
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    if (plan_.outputs[i].buffer >= 0) copy("copy out", signature_.outputs[i]);
  }
  for (const char* wait : {"device queued", "device submitted"}) {
    operations.push_back({.name = wait,
                          .kernel = "wait",
                          .ceiling = "",
                          .row_macs = 0,
                          .row_bytes = 0,
                          .weight_bytes = 0});
  }
  return operations;
}

std::string ClExecutable::DescribePlan() const {
  return DescribeDevicePlan(
      plan_, absl::StrCat("on OpenCL device ", device_->info().name, " (", device_->info().platform,
                          "), kernels ", device_->origin(), ", batches of up to ", plan_.max_rows));
}

}  // namespace bitmill
