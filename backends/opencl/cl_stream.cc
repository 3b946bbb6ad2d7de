#include "backends/opencl/cl_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {

absl::StatusOr<std::unique_ptr<ClStream>> ClStream::Create(std::shared_ptr<ClDevice> device,
                                                           const DevicePlan& plan,
                                                           const HostLayout& layout,
                                                           cl_mem constants, cl_mem params) {
  std::unique_ptr<ClStream> stream(new ClStream(std::move(device), plan, layout));
  BITMILL_RETURN_IF_ERROR(stream->Prepare(constants, params));
  return stream;
}

ClStream::ClStream(std::shared_ptr<ClDevice> device, const DevicePlan& plan,
                   const HostLayout& layout)
    : device_(std::move(device)), plan_(plan), layout_(layout) {}

ClStream::~ClStream() {
  const ClApi& api = device_->api();
  if (host_ != nullptr) {
    api.clEnqueueUnmapMemObject(queue_.get(), pinned_.get(), host_, 0, nullptr, nullptr);
    api.clFinish(queue_.get());
  }
}

absl::Status ClStream::Prepare(cl_mem constants, cl_mem params) {
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
  commands_.reserve(plan_.steps.size() + plan_.inputs.size() + plan_.outputs.size());
  return absl::OkStatus();
}

absl::Status ClStream::PinHostMemory() {
  if (layout_.bytes == 0) return absl::OkStatus();
  const auto bytes = static_cast<size_t>(layout_.bytes);
  BITMILL_ASSIGN_OR_RETURN(
      pinned_,
      device_->NewBuffer(layout_.bytes, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, nullptr));
  cl_int error = CL_SUCCESS;
  void* const mapped = device_->api().clEnqueueMapBuffer(queue_.get(), pinned_.get(), CL_TRUE,
                                                         CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0,
                                                         nullptr, nullptr, &error);
  BITMILL_RETURN_IF_ERROR(ClStatus(error, "clEnqueueMapBuffer"));
  host_ = static_cast<std::byte*>(mapped);
  std::memset(host_, 0, bytes);
  return absl::OkStatus();
}

cl_event* ClStream::NewEvent(int32_t operation) {
  if (operation == kUntimed) return nullptr;
  commands_.push_back({operation, nullptr});
  return &commands_.back().event;
}

absl::Status ClStream::Write(int32_t buffer, int64_t rows, int32_t operation) {
  const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
  return ClStatus(
      device_->api().clEnqueueWriteBuffer(
          queue_.get(), arena_.get(), CL_FALSE, static_cast<size_t>(memory.offset),
          static_cast<size_t>(memory.stride * rows),
          host_ + layout_.offsets[static_cast<size_t>(buffer)], 0, nullptr, NewEvent(operation)),
      "clEnqueueWriteBuffer");
}

absl::Status ClStream::Read(int32_t buffer, int64_t rows, int32_t operation) {
  const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
  return ClStatus(
      device_->api().clEnqueueReadBuffer(
          queue_.get(), arena_.get(), CL_FALSE, static_cast<size_t>(memory.offset),
          static_cast<size_t>(memory.stride * rows),
          host_ + layout_.offsets[static_cast<size_t>(buffer)], 0, nullptr, NewEvent(operation)),
      "clEnqueueReadBuffer");
}

absl::Status ClStream::Launch(size_t step, int64_t rows, int32_t operation) {
  return ClStatus(
      device_->Enqueue(queue_.get(), kernels_[step].get(), plan_.steps[step][device::kItems], rows,
                       plan_.steps[step].group_items, NewEvent(operation)),
      absl::StrCat("clEnqueueNDRangeKernel(", plan_.steps[step].kernel, ")"));
}

absl::Status ClStream::Finish() {
  return ClStatus(device_->api().clFinish(queue_.get()), "clFinish");
}

void ClStream::TakeTimes(absl::Span<int64_t> ns) {
  const ClApi& api = device_->api();
  const auto time_of = [&api](cl_event event, cl_profiling_info what, cl_ulong& time) {
    return api.clGetEventProfilingInfo(event, what, sizeof(time), &time, nullptr) == CL_SUCCESS;
  };
  cl_ulong before = 0;  // the end of the last command
  for (const auto& [operation, event] : commands_) {
    if (event == nullptr) continue;
    cl_ulong queued = 0, submitted = 0, start = 0, end = 0;
    if (time_of(event, CL_PROFILING_COMMAND_QUEUED, queued) &&
        time_of(event, CL_PROFILING_COMMAND_SUBMIT, submitted) &&
        time_of(event, CL_PROFILING_COMMAND_START, start) &&
        time_of(event, CL_PROFILING_COMMAND_END, end)) {
      ns[static_cast<size_t>(operation)] += static_cast<int64_t>(end - start);
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
  commands_.clear();
}

}  // namespace bitmill
