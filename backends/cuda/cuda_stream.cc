#include "backends/cuda/cuda_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cuda/cuda_launch.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6;

}  // namespace

absl::StatusOr<std::unique_ptr<CudaStream>> CudaStream::Create(std::shared_ptr<CudaDevice> device,
                                                               const DevicePlan& plan,
                                                               const HostLayout& layout,
                                                               const CudaUploads& uploads) {
  std::unique_ptr<CudaStream> stream(new CudaStream(std::move(device), plan, layout, uploads));
  BITMILL_RETURN_IF_ERROR(stream->Prepare());
  return stream;
}

CudaStream::CudaStream(std::shared_ptr<CudaDevice> device, const DevicePlan& plan,
                       const HostLayout& layout, const CudaUploads& uploads)
    : device_(std::move(device)), plan_(plan), layout_(layout), uploads_(uploads) {}

CudaStream::~CudaStream() {
  static_cast<void>(device_->Enter());  // for what is released now, see CudaHandle
}

absl::Status CudaStream::Prepare() {
  BITMILL_RETURN_IF_ERROR(device_->Enter());
  BITMILL_ASSIGN_OR_RETURN(stream_, device_->NewStream());
  BITMILL_ASSIGN_OR_RETURN(arena_, device_->NewMemory(plan_.arena_bytes));
  if (layout_.bytes > 0) {
    BITMILL_ASSIGN_OR_RETURN(host_, device_->NewHostMemory(layout_.bytes));
    std::memset(host_.get(), 0, static_cast<size_t>(layout_.bytes));
  }
  const size_t commands = plan_.steps.size() + plan_.inputs.size() + plan_.outputs.size();
  events_.reserve(2 * commands);
  marks_.reserve(2 * commands);
  return absl::OkStatus();
}

absl::Status CudaStream::Write(int32_t buffer, int64_t rows, int32_t operation) {
  const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
  BITMILL_RETURN_IF_ERROR(BeginTime(operation));
  BITMILL_RETURN_IF_ERROR(device_->Check(
      device_->api().MemcpyHtoDAsync(arena_.get() + static_cast<CuPointer>(memory.offset),
                                     host() + layout_.offsets[static_cast<size_t>(buffer)],
                                     static_cast<size_t>(memory.stride * rows), stream_.get()),
      "cuMemcpyHtoDAsync"));
  return EndTime(operation);
}

absl::Status CudaStream::Read(int32_t buffer, int64_t rows, int32_t operation) {
  const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
  BITMILL_RETURN_IF_ERROR(BeginTime(operation));
  BITMILL_RETURN_IF_ERROR(device_->Check(
      device_->api().MemcpyDtoHAsync(host() + layout_.offsets[static_cast<size_t>(buffer)],
                                     arena_.get() + static_cast<CuPointer>(memory.offset),
                                     static_cast<size_t>(memory.stride * rows), stream_.get()),
      "cuMemcpyDtoHAsync"));
  return EndTime(operation);
}

// Arguments as every kernel has them: arena, constants, parameters of all steps, its step, rows.
absl::Status CudaStream::Launch(size_t step, int64_t rows, int32_t operation) {
  const DeviceStep& launched = plan_.steps[step];
  BITMILL_ASSIGN_OR_RETURN(const CudaLaunch launch, CudaLaunchOf(launched, rows));
  CuFunction const kernel =
      launched.few(rows) ? uploads_.few_kernels[step] : uploads_.kernels[step];
  CuPointer arena = arena_.get();
  CuPointer constants = uploads_.constants;
  CuPointer params = uploads_.params;
  auto step_number = static_cast<int32_t>(step);
  auto row_count = static_cast<int32_t>(rows);
  void* arguments[] = {&arena, &constants, &params, &step_number, &row_count};
  BITMILL_RETURN_IF_ERROR(BeginTime(operation));
  BITMILL_RETURN_IF_ERROR(device_->Check(
      device_->api().LaunchKernel(kernel, launch.grid_x, launch.grid_y, launch.grid_z,
                                  launch.threads, 1, 1, launch.shared_bytes, stream_.get(),
                                  arguments, nullptr),
      absl::StrCat("cuLaunchKernel(", launched.kernel_of(rows), ")")));
  return EndTime(operation);
}

absl::Status CudaStream::Finish() {
  const absl::Status status =
      device_->Check(device_->api().StreamSynchronize(stream_.get()), "cuStreamSynchronize");
  if (!marks_.empty()) timed_until_ = clock_.Now();
  return status;
}

absl::Status CudaStream::Mark(int32_t operation) {
  const size_t event = marks_.size();
  while (events_.size() <= event) {
    BITMILL_ASSIGN_OR_RETURN(CudaEventHandle made, device_->NewEvent());
    events_.push_back(std::move(made));
  }
  BITMILL_RETURN_IF_ERROR(device_->Check(
      device_->api().EventRecord(events_[event].get(), stream_.get()), "cuEventRecord"));
  marks_.push_back(operation);
  return absl::OkStatus();
}

absl::Status CudaStream::BeginTime(int32_t operation) {
  if (operation == kUntimed) {
    untimed_between_ = true;
    return absl::OkStatus();
  }
  if (marks_.empty()) timed_since_ = clock_.Now();
  if (!marks_.empty() && !untimed_between_) return absl::OkStatus();
  untimed_between_ = false;
  return Mark(kUntimed);
}

absl::Status CudaStream::EndTime(int32_t operation) {
  return operation == kUntimed ? absl::OkStatus() : Mark(operation);
}

void CudaStream::TakeTimes(absl::Span<int64_t> ns) {
  int64_t device_ns = 0;
  for (size_t i = 1; i < marks_.size(); ++i) {
    if (marks_[i] == kUntimed) continue;
    float ms = 0;
    if (device_->api().EventElapsedTime(&ms, events_[i - 1].get(), events_[i].get()) !=
        kCuSuccess) {
      continue;
    }
    const auto command_ns = static_cast<int64_t>(static_cast<double>(ms) * kNanosPerMilli);
    ns[static_cast<size_t>(marks_[i])] += command_ns;
    device_ns += command_ns;
  }
  if (!marks_.empty()) {
    ns[ns.size() - 2] += std::max<int64_t>(0, timed_until_ - timed_since_ - device_ns);
  }
  marks_.clear();
}

absl::Status CudaStream::Capture(const std::function<absl::Status()>& enqueue,
                                 CudaGraphHandle& graph) {
  const CudaApi& api = device_->api();
  BITMILL_RETURN_IF_ERROR(device_->Check(
      api.StreamBeginCapture(stream_.get(), kCuCaptureThreadLocal), "cuStreamBeginCapture"));
  const absl::Status enqueued = enqueue();
  CuGraph captured = nullptr;
  // Ends the capture in any case: the stream runs commands again.
  const absl::Status ended =
      device_->Check(api.StreamEndCapture(stream_.get(), &captured), "cuStreamEndCapture");
  graph = CudaGraphHandle(api, captured);
  return enqueued.ok() ? ended : enqueued;
}

absl::Status CudaStream::Record(int64_t rows, const std::function<absl::Status()>& enqueue) {
  const CudaApi& api = device_->api();
  if (!api.has_graphs()) {
    return absl::UnimplementedError(absl::StrCat("the driver, for CUDA ",
                                                 CudaVersionText(api.driver_version),
                                                 ", has no graphs that can be launched"));
  }
  CudaGraphHandle graph;
  BITMILL_RETURN_IF_ERROR(Capture(enqueue, graph));
  CuGraphExec exec = nullptr;
  BITMILL_RETURN_IF_ERROR(
      device_->Check(api.GraphInstantiate(&exec, graph.get(), 0), "cuGraphInstantiate"));
  graphs_.insert_or_assign(rows, CudaGraphExecHandle(api, exec));
  return absl::OkStatus();
}

absl::Status CudaStream::Replay(int64_t rows) {
  const auto found = graphs_.find(rows);
  if (found == graphs_.end()) {
    return absl::InternalError(absl::StrCat("no graph of ", rows, " rows"));
  }
  return device_->Check(device_->api().GraphLaunch(found->second.get(), stream_.get()),
                        "cuGraphLaunch");
}

}  // namespace bitmill
