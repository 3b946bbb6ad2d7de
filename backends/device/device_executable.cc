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
// Bytes that a batch copies, from where on it is cut in two: what a bus of 25 GB/s takes 40 us for,
// several times what a second launch costs.
constexpr int64_t kOverlapBytes = 1 << 20;
constexpr int64_t kOverlapRows = 16;  // and so many rows, or halves are too small for a device

// Of one batch at a time: a lane for each share of it.
struct BatchContext final : ExecutionContext {
  std::vector<std::unique_ptr<DeviceContext>> lanes;
};

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

int64_t ShareRows(const PlanDevice& device, const DevicePlan& plan) {
  if (!device.overlaps_copies() || plan.host_steps() > 0 || plan.max_rows < kOverlapRows) {
    return plan.max_rows;
  }
  int64_t row_bytes = 0;
  for (const auto* const ports : {&plan.inputs, &plan.outputs}) {
    for (const DevicePort& port : *ports) {
      if (port.buffer >= 0) row_bytes += plan.buffers[static_cast<size_t>(port.buffer)].stride;
    }
  }
  const bool long_copies = row_bytes >= kOverlapBytes / plan.max_rows;
  return long_copies ? (plan.max_rows + 1) / 2 : plan.max_rows;
}

DeviceExecutable::DeviceExecutable(std::shared_ptr<const PlanDevice> device, Signature signature,
                                   DevicePlan plan, int64_t max_rows)
    : device_(std::move(device)),
      signature_(std::move(signature)),
      plan_(std::move(plan)),
      max_rows_(max_rows > 0 ? max_rows : plan_.max_rows),
      shares_((max_rows_ + plan_.max_rows - 1) / plan_.max_rows),
      layout_(LayOutHost(plan_)),
      pack_(SelectPack(BestIsa())) {
  if (device_->records()) recorded_ = RecordedSizes(plan_);
}

absl::StatusOr<std::unique_ptr<DeviceExecutable>> DeviceExecutable::Create(
    std::shared_ptr<const PlanDevice> device, Signature signature, DevicePlan plan,
    int64_t max_rows) {
  std::unique_ptr<DeviceExecutable> executable(
      new DeviceExecutable(std::move(device), std::move(signature), std::move(plan), max_rows));
  BITMILL_ASSIGN_OR_RETURN(executable->uploaded_, executable->device_->Upload(executable->plan_));
  executable->plan_.constants = std::string();  // the device has them
  return executable;
}

std::unique_ptr<ExecutionContext> DeviceExecutable::CreateContext() const {
  auto context = std::make_unique<BatchContext>();
  for (int64_t i = 0; i < shares_; ++i) {
    context->lanes.push_back(
        std::make_unique<DeviceContext>(plan_, layout_, uploaded_->NewStream(plan_, layout_)));
    if (context->lanes.back()->status().ok()) RecordBatches(*context->lanes.back());
  }
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
           plan_.constant_bytes + contexts * arena_bytes(), device_->memory_bytes()}};
}

int64_t DeviceExecutable::computed_rows(int64_t rows) const {
  if (recording_failed_) return rows;
  int64_t sum = 0;
  const int64_t share = (rows + SharesFor(rows) - 1) / SharesFor(rows);
  for (int64_t first = 0; first < rows; first += share) {
    const int64_t own = std::min(share, rows - first);
    const int64_t size = RecordedSizeFor(recorded_, plan_, own);
    sum += size > 0 ? size : own;
  }
  return sum;
}

absl::Status DeviceExecutable::CheckBatch(const BatchRows& batch) const {
  if (batch.rows < 1 || batch.rows > max_rows_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a batch of ", batch.rows, " rows; 1 to ", max_rows_, " are possible"));
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

void DeviceExecutable::Gather(const BatchRows& batch, Share share,
                              const DeviceContext& context) const {
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    const auto bytes = static_cast<size_t>(signature_.inputs[i].row_bytes);
    const DevicePort& port = plan_.inputs[i];
    const std::byte* const* const from = batch.inputs[i] + share.first;
    for (int64_t r = 0; r < share.rows; ++r) {
      std::byte* const to = context.HostRow(port.buffer, r);
      if (port.bits != nullptr) {
        PackRow(*port.bits, pack_, from[r], to);
      } else {
        std::memcpy(to, from[r], bytes);
      }
    }
  }
}

void DeviceExecutable::Scatter(const BatchRows& batch, Share share,
                               const DeviceContext& context) const {
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    const DevicePort& port = plan_.outputs[i];
    const auto bytes = static_cast<size_t>(signature_.outputs[i].row_bytes);
    for (int64_t r = 0; r < share.rows; ++r) {
      const void* const from =
          port.buffer >= 0 ? context.HostRow(port.buffer, r) : port.constant->data();
      std::memcpy(batch.outputs[i][share.first + r], from, bytes);
    }
  }
}

absl::Status DeviceExecutable::StartShare(const BatchRows& batch, Share share, DeviceContext& lane,
                                          bool timed) const {
  BITMILL_RETURN_IF_ERROR(lane.stream().Begin());
  Gather(batch, share, lane);
  const int64_t size = timed ? 0 : RecordedSizeFor(recorded_, plan_, share.rows);
  return lane.recorded(size) ? lane.stream().Replay(size) : EnqueueAll(lane, share.rows, timed);
}

// All shares are started before the first is waited for.
absl::Status DeviceExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  BITMILL_RETURN_IF_ERROR(CheckBatch(batch));
  const auto& lanes = static_cast<BatchContext&>(context).lanes;
  for (const auto& lane : lanes) BITMILL_RETURN_IF_ERROR(lane->status());
  const int64_t rows = (batch.rows + SharesFor(batch.rows) - 1) / SharesFor(batch.rows);
  absl::Status status;
  size_t started = 0;
  for (Share share{0, rows}; share.first < batch.rows && status.ok(); share.first += rows) {
    share.rows = std::min(rows, batch.rows - share.first);
    status = StartShare(batch, share, *lanes[started++], /*timed=*/false);
  }
  // Also after an error: the device may still be reading and writing.
  for (size_t lane = 0; lane < started; ++lane) {
    status.Update(lanes[lane]->stream().Finish());
    const int64_t first = static_cast<int64_t>(lane) * rows;
    if (status.ok()) Scatter(batch, {first, std::min(rows, batch.rows - first)}, *lanes[lane]);
  }
  return status;
}

// One share after the other, so that times of operations add up to that of the batch.
absl::Status DeviceExecutable::RunTimed(const BatchRows& batch, ExecutionContext& context,
                                        OperationTimes& times) const {
  BITMILL_RETURN_IF_ERROR(CheckBatch(batch));
  const auto& lanes = static_cast<BatchContext&>(context).lanes;
  const int64_t rows = (batch.rows + SharesFor(batch.rows) - 1) / SharesFor(batch.rows);
  for (Share share{0, rows}; share.first < batch.rows; share.first += rows) {
    share.rows = std::min(rows, batch.rows - share.first);
    DeviceContext& lane = *lanes[static_cast<size_t>(share.first / rows)];
    BITMILL_RETURN_IF_ERROR(lane.status());
    absl::Status status = StartShare(batch, share, lane, /*timed=*/true);
    status.Update(lane.stream().Finish());
    lane.stream().TakeTimes(times.ns);
    BITMILL_RETURN_IF_ERROR(status);
    Scatter(batch, share, lane);
  }
  times.rows += batch.rows;
  return absl::OkStatus();
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
  std::string title = absl::StrCat("on ", device_->Description(), ", batches of up to ", max_rows_);
  if (shares_ > 1) {
    absl::StrAppend(&title, ", those of more than ", plan_.max_rows, " in ", shares_, " streams");
  }
  if (!recorded_.empty() && !recording_failed_) {
    absl::StrAppend(&title, ", launched at once for ", absl::StrJoin(recorded_, ", "), " rows");
  }
  return DescribeDevicePlan(plan_, title);
}

}  // namespace bitmill
