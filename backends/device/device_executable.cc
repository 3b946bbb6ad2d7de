#include "backends/device/device_executable.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/device/device_context.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// Multiply-accumulates that padding may cost for each launch that it saves: those of 2 us, about a
// launch, at 10 T a second, which a GPU exceeds with bits and does not reach with floats.
constexpr int64_t kLaunchMacs = 20'000'000;

// The words' last bytes are zero as the host memory is at first.
void PackRow(const InputBits& bits, const PackKernel& kernel, const std::byte* row, std::byte* to) {
  SignPackArgs args{};
  args.src = reinterpret_cast<const float*>(row);
  args.src_pixel = 1;
  args.src_channel = bits.pixels;
  args.pixels = static_cast<int32_t>(bits.pixels);
  args.channels = static_cast<int32_t>(bits.channels);
  args.per_channel = bits.thresholds.size() > 1 ? 1 : 0;
  args.thresholds = bits.thresholds.data();
  args.invert = bits.invert.empty() ? nullptr : bits.invert.data();
  args.dst = reinterpret_cast<uint8_t*>(to);
  args.dst_pixel = bits.pixel_bytes;
  kernel.sign(args);
}

}  // namespace

std::vector<int64_t> RecordedSizes(const DevicePlan& plan) {
  std::vector<int64_t> sizes;
  if (plan.host_steps() > 0) return sizes;
  for (int64_t rows = 1; rows < plan.max_rows; rows *= 2) sizes.push_back(rows);
  sizes.push_back(plan.max_rows);
  return sizes;
}

int64_t RecordedSizeFor(const std::vector<int64_t>& recorded, const DevicePlan& plan,
                        int64_t rows) {
  const auto found = std::lower_bound(recorded.begin(), recorded.end(), rows);
  if (found == recorded.end()) return 0;
  const int64_t padding = *found - rows;
  const auto launches = static_cast<int64_t>(plan.steps.size());
  return padding == 0 || plan.row_macs <= launches * kLaunchMacs / padding ? *found : 0;
}

DeviceExecutable::DeviceExecutable(std::shared_ptr<const PlanDevice> device, Signature signature,
                                   DevicePlan plan)
    : device_(std::move(device)),
      signature_(std::move(signature)),
      plan_(std::move(plan)),
      layout_(LayOutHost(plan_)),
      pack_(SelectPack(BestIsa())) {
  if (device_->records()) recorded_ = RecordedSizes(plan_);
}

absl::StatusOr<std::unique_ptr<DeviceExecutable>> DeviceExecutable::Create(
    std::shared_ptr<const PlanDevice> device, Signature signature, DevicePlan plan) {
  std::unique_ptr<DeviceExecutable> executable(
      new DeviceExecutable(std::move(device), std::move(signature), std::move(plan)));
  BITMILL_ASSIGN_OR_RETURN(executable->uploaded_, executable->device_->Upload(executable->plan_));
  executable->plan_.constants = std::string();  // the device has them
  return executable;
}

std::unique_ptr<ExecutionContext> DeviceExecutable::CreateContext() const {
  auto context =
      std::make_unique<DeviceContext>(plan_, layout_, uploaded_->NewStream(plan_, layout_));
  if (context->status().ok()) RecordBatches(*context);
  return context;
}

void DeviceExecutable::RecordBatches(DeviceContext& context) const {
  for (const int64_t rows : recorded_) {
    if (recording_failed_) return;
    absl::Status status = context.stream().Begin();
    if (status.ok()) {
      status =
          context.stream().Record(rows, [&] { return EnqueueAll(context, rows, /*timed=*/false); });
    }
    if (status.ok()) {
      context.SetRecorded(rows);
    } else if (!recording_failed_.exchange(true)) {
      LogWarning(absl::StrCat("batches are launched kernel by kernel: ", status.message()));
    }
  }
}

std::vector<MemoryUse> DeviceExecutable::memory(int64_t contexts) const {
  return {{absl::StrCat(device_->backend_name(), ":", device_->name()),
           plan_.constant_bytes + contexts * plan_.arena_bytes, device_->memory_bytes()}};
}

int64_t DeviceExecutable::computed_rows(int64_t rows) const {
  if (recording_failed_) return rows;
  const int64_t size = RecordedSizeFor(recorded_, plan_, rows);
  return size > 0 ? size : rows;
}

absl::Status DeviceExecutable::CheckBatch(const BatchRows& batch) const {
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

// In the order of operations().
absl::Status DeviceExecutable::EnqueueAll(DeviceContext& context, int64_t rows, bool timed) const {
  DeviceStream& stream = context.stream();
  int32_t next = 0;
  const auto operation = [&] { return timed ? next++ : DeviceStream::kUntimed; };
  for (const DevicePort& port : plan_.inputs) {
    BITMILL_RETURN_IF_ERROR(stream.Write(port.buffer, rows, operation()));
  }
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const int32_t own = operation();
    BITMILL_RETURN_IF_ERROR(plan_.steps[s].host != nullptr ? context.RunHostStep(s, rows)
                                                           : stream.Launch(s, rows, own));
  }
  for (const DevicePort& port : plan_.outputs) {
    if (port.buffer >= 0) BITMILL_RETURN_IF_ERROR(stream.Read(port.buffer, rows, operation()));
  }
  return absl::OkStatus();
}

void DeviceExecutable::Gather(const BatchRows& batch, const DeviceContext& context) const {
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    const auto bytes = static_cast<size_t>(signature_.inputs[i].row_bytes);
    const DevicePort& port = plan_.inputs[i];
    for (int64_t r = 0; r < batch.rows; ++r) {
      std::byte* const to = context.HostRow(port.buffer, r);
      if (port.bits != nullptr) {
        PackRow(*port.bits, pack_, batch.inputs[i][r], to);
      } else {
        std::memcpy(to, batch.inputs[i][r], bytes);
      }
    }
  }
}

void DeviceExecutable::Scatter(const BatchRows& batch, const DeviceContext& context) const {
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

absl::Status DeviceExecutable::RunBatch(const BatchRows& batch, ExecutionContext& context,
                                        OperationTimes* times) const {
  BITMILL_RETURN_IF_ERROR(CheckBatch(batch));
  auto& own = static_cast<DeviceContext&>(context);
  BITMILL_RETURN_IF_ERROR(own.status());
  DeviceStream& stream = own.stream();
  BITMILL_RETURN_IF_ERROR(stream.Begin());
  Gather(batch, own);
  const int64_t size = times == nullptr ? RecordedSizeFor(recorded_, plan_, batch.rows) : 0;
  const absl::Status enqueued =
      own.recorded(size) ? stream.Replay(size) : EnqueueAll(own, batch.rows, times != nullptr);
  const absl::Status finished = stream.Finish();  // the device may still be reading and writing
  if (times != nullptr) stream.TakeTimes(times->ns);
  BITMILL_RETURN_IF_ERROR(enqueued);
  BITMILL_RETURN_IF_ERROR(finished);
  Scatter(batch, own);
  if (times != nullptr) times->rows += batch.rows;
  return absl::OkStatus();
}

absl::Status DeviceExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  return RunBatch(batch, context, nullptr);
}

absl::Status DeviceExecutable::RunTimed(const BatchRows& batch, ExecutionContext& context,
                                        OperationTimes& times) const {
  return RunBatch(batch, context, &times);
}

std::vector<Operation> DeviceExecutable::operations() const {
  std::vector<Operation> operations;
  const auto copy = [&](const char* name, const TensorSpec& spec, const InputBits* bits) {
    operations.push_back(
        {.name = absl::StrCat(name, " ", spec.name),
         .kernel = "copy",
         .ceiling = "",
         .row_macs = 0,
         .row_bytes = bits != nullptr ? bits->pixels * bits->pixel_bytes : spec.row_bytes,
         .weight_bytes = 0});
  };
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    const InputBits* const bits = plan_.inputs[i].bits.get();
    copy(bits != nullptr ? "copy in bits of" : "copy in", signature_.inputs[i], bits);
  }
  for (const DeviceStep& step : plan_.steps) {
    operations.push_back({.name = step.name,
                          .kernel = step.kernel,
                          .ceiling = "",
                          .row_macs = step.macs,
                          .row_bytes = step.output_bytes,
                          .weight_bytes = step.weight_bytes});
  }
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    if (plan_.outputs[i].buffer >= 0) copy("copy out", signature_.outputs[i], nullptr);
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

std::string DeviceExecutable::DescribePlan() const {
  std::string title =
      absl::StrCat("on ", device_->Description(), ", batches of up to ", plan_.max_rows);
  if (!recorded_.empty() && !recording_failed_) {
    absl::StrAppend(&title, ", launched at once for ", absl::StrJoin(recorded_, ", "), " rows");
  }
  return DescribeDevicePlan(plan_, title);
}

}  // namespace bitmill
