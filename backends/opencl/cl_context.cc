#include "backends/opencl/cl_context.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/tensor.h"
#include "model/ops/op_registry.h"

namespace bitmill {
namespace {

constexpr size_t kWaits = 2;  // operations behind those of the commands: queued, submitted

}  // namespace

ClExecutionContext::ClExecutionContext(std::shared_ptr<ClDevice> device, const DevicePlan& plan,
                                       cl_mem constants, cl_mem params)
    : device_(std::move(device)), plan_(plan) {
  status_ = Prepare(constants, params);
}

ClExecutionContext::~ClExecutionContext() {
  const ClApi& api = device_->api();
  if (host_ != nullptr) {
    api.clEnqueueUnmapMemObject(queue_.get(), pinned_.get(), host_, 0, nullptr, nullptr);
    api.clFinish(queue_.get());
  }
}

absl::Status ClExecutionContext::Prepare(cl_mem constants, cl_mem params) {
  BITMILL_ASSIGN_OR_RETURN(queue_, device_->NewQueue());
  BITMILL_ASSIGN_OR_RETURN(arena_,
                           device_->NewBuffer(plan_.arena_bytes, CL_MEM_READ_WRITE, nullptr));
  BITMILL_RETURN_IF_ERROR(PinHostMemory());
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    ClKernelHandle kernel;
    if (plan_.steps[s].host == nullptr) {
      BITMILL_ASSIGN_OR_RETURN(
          kernel, device_->NewKernel(plan_.steps[s].kernel, arena_.get(), constants, params,
                                     static_cast<cl_int>(s)));
    }
    kernels_.push_back(std::move(kernel));
  }
  events_.reserve(plan_.steps.size() + plan_.inputs.size() + plan_.outputs.size());
  return absl::OkStatus();
}

absl::Status ClExecutionContext::PinHostMemory() {
  host_offsets_.assign(plan_.buffers.size(), -1);
  int64_t bytes = 0;
  const auto add = [&](int32_t buffer) {
    if (buffer < 0 || host_offsets_[static_cast<size_t>(buffer)] >= 0) return;
    host_offsets_[static_cast<size_t>(buffer)] = bytes;
    bytes += plan_.buffers[static_cast<size_t>(buffer)].stride * plan_.max_rows;
  };
  for (const DevicePort& port : plan_.inputs) add(port.buffer);
  for (const DevicePort& port : plan_.outputs) add(port.buffer);
  for (const DeviceStep& step : plan_.steps) {
    if (step.host == nullptr) continue;
    for (const HostOperand& operand : step.host->inputs) add(operand.buffer);
    for (const HostOperand& operand : step.host->outputs) add(operand.buffer);
  }
  if (bytes == 0) return absl::OkStatus();
  BITMILL_ASSIGN_OR_RETURN(
      pinned_, device_->NewBuffer(bytes, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, nullptr));
  cl_int error = CL_SUCCESS;
  void* const mapped = device_->api().clEnqueueMapBuffer(
      queue_.get(), pinned_.get(), CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
      static_cast<size_t>(bytes), 0, nullptr, nullptr, &error);
  BITMILL_RETURN_IF_ERROR(ClStatus(error, "clEnqueueMapBuffer"));
  host_ = static_cast<std::byte*>(mapped);
  return absl::OkStatus();
}

std::byte* ClExecutionContext::HostRow(int32_t buffer, int64_t row) const {
  const auto b = static_cast<size_t>(buffer);
  return host_ + host_offsets_[b] + row * plan_.buffers[b].stride;
}

cl_event* ClExecutionContext::NewEvent() {
  if (!timed_) return nullptr;
  events_.push_back(nullptr);
  return &events_.back();
}

absl::Status ClExecutionContext::EnqueueWrite(int32_t buffer, int64_t rows) {
  const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
  return ClStatus(device_->api().clEnqueueWriteBuffer(queue_.get(), arena_.get(), CL_FALSE,
                                                      static_cast<size_t>(memory.offset),
                                                      static_cast<size_t>(memory.stride * rows),
                                                      HostRow(buffer, 0), 0, nullptr, NewEvent()),
                  "clEnqueueWriteBuffer");
}

absl::Status ClExecutionContext::EnqueueRead(int32_t buffer, int64_t rows) {
  const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
  return ClStatus(device_->api().clEnqueueReadBuffer(queue_.get(), arena_.get(), CL_FALSE,
                                                     static_cast<size_t>(memory.offset),
                                                     static_cast<size_t>(memory.stride * rows),
                                                     HostRow(buffer, 0), 0, nullptr, NewEvent()),
                  "clEnqueueReadBuffer");
}

absl::Status ClExecutionContext::EnqueueStep(size_t step, int64_t rows) {
  return ClStatus(
      device_->Enqueue(queue_.get(), kernels_[step].get(), plan_.steps[step][device::kItems], rows,
                       plan_.steps[step].group_items, NewEvent()),
      absl::StrCat("clEnqueueNDRangeKernel(", plan_.steps[step].kernel, ")"));
}

absl::Status ClExecutionContext::RunHostStep(size_t step, int64_t rows) {
  const HostStep& host = *plan_.steps[step].host;
  const bool timed = std::exchange(timed_, false);  // its copies are not commands of the plan
  for (const HostOperand& input : host.inputs) {
    if (input.buffer >= 0) BITMILL_RETURN_IF_ERROR(EnqueueRead(input.buffer, rows));
  }
  BITMILL_RETURN_IF_ERROR(Finish());
  const OpDef* const op = FindOp(host.node.domain, host.node.op);
  std::vector<TensorView> inputs;
  std::vector<MutableTensorView> outputs;
  for (int64_t r = 0; r < rows; ++r) {
    inputs.clear();
    outputs.clear();
    for (const HostOperand& input : host.inputs) {
      const void* const data = input.constant != nullptr ? input.constant->data()
                               : input.buffer >= 0       ? HostRow(input.buffer, r)
                                                         : nullptr;
      inputs.push_back({input.dtype, input.shape, data});
    }
    for (const HostOperand& output : host.outputs) {
      void* const data = output.buffer >= 0 ? HostRow(output.buffer, r) : nullptr;
      outputs.push_back({output.dtype, output.shape, data});
    }
    BITMILL_RETURN_IF_ERROR(op->eval(host.node, host.opset, inputs, outputs));
  }
  for (const HostOperand& output : host.outputs) {
    if (output.buffer >= 0) BITMILL_RETURN_IF_ERROR(EnqueueWrite(output.buffer, rows));
  }
  timed_ = timed;
  if (timed_) events_.push_back(nullptr);  // keeps the order
  return absl::OkStatus();
}

absl::Status ClExecutionContext::Finish() {
  return ClStatus(device_->api().clFinish(queue_.get()), "clFinish");
}

void ClExecutionContext::BeginTimes() {
  events_.clear();
  timed_ = true;
}

void ClExecutionContext::TakeTimes(absl::Span<int64_t> ns) {
  const ClApi& api = device_->api();
  const auto time_of = [&api](cl_event event, cl_profiling_info what, cl_ulong& time) {
    return api.clGetEventProfilingInfo(event, what, sizeof(time), &time, nullptr) == CL_SUCCESS;
  };
  cl_ulong before = 0;  // the end of the last command
  for (size_t i = 0; i < events_.size(); ++i) {
    const cl_event event = events_[i];
    if (event == nullptr) continue;
    cl_ulong queued = 0, submitted = 0, start = 0, end = 0;
    if (time_of(event, CL_PROFILING_COMMAND_QUEUED, queued) &&
        time_of(event, CL_PROFILING_COMMAND_SUBMIT, submitted) &&
        time_of(event, CL_PROFILING_COMMAND_START, start) &&
        time_of(event, CL_PROFILING_COMMAND_END, end) && i + kWaits < ns.size()) {
      ns[i] += static_cast<int64_t>(end - start);
      const cl_ulong ready = before != 0 ? before : queued;
      if (start > ready) {
        const cl_ulong handed_over = std::clamp(submitted, ready, start);
        ns[ns.size() - 2] += static_cast<int64_t>(handed_over - ready);
        ns[ns.size() - 1] += static_cast<int64_t>(start - handed_over);
      }
      before = end;
    }
    api.clReleaseEvent(event);
  }
  events_.clear();
  timed_ = false;
}

}  // namespace bitmill
