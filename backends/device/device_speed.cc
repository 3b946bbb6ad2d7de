#include "backends/device/device_speed.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backends/device/device_executable.h"
#include "backends/device/plan_writer.h"
#include "base/status_macros.h"
#include "base/tensor.h"

namespace bitmill {
namespace {

constexpr int64_t kRows = 8;
constexpr int64_t kKernel = 3;
constexpr ConvSpeed kConvolutions[] = {{56, 64}, {28, 128}, {14, 256}, {7, 512}};
constexpr int32_t kCountTimes = 128;  // of an item
constexpr int64_t kCountWords = 32, kWordBits = 64;
constexpr char kProducts[] = "bm_count_products";
constexpr const char* kCounts[] = {"bm_count_words", "bm_count_vectors", "bm_count_carries",
                                   kProducts};
constexpr int kRuns = 7;

LowBitConvOp Convolution(int64_t channels, std::mt19937& random) {
  LowBitConvOp op;
  auto weights =
      std::make_shared<Tensor>(Tensor::Zeros(DType::kInt8, {channels, channels, kKernel, kKernel}));
  for (int8_t& weight : weights->span<int8_t>()) weight = random() % 2 == 0 ? 1 : -1;
  op.weights = std::move(weights);
  op.pad_top = op.pad_left = op.pad_bottom = op.pad_right = kKernel / 2;
  op.epilogue = LowBitConvOp::Epilogue::kThresholds;
  op.thresholds.assign(static_cast<size_t>(channels), 0);
  op.flip.assign(static_cast<size_t>(channels), 0);
  return op;
}

absl::StatusOr<DeviceValue> ValueOf(Shape shape, DType dtype, CodeInfo code) {
  Value value;
  value.dtype = dtype;
  value.shape = std::move(shape);
  value.code = code;
  return DeviceValueOf(value);
}

void AddCount(const char* kernel, const DeviceValue& in, DeviceValue out, PlanWriter& writer) {
  const auto items = static_cast<int32_t>(out.elements);
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin(kernel, in, out);
  step.name = kernel;
  step[device::kSpan] = kCountTimes;
  step[device::kItems] = items;
  step.macs = int64_t{items} * kCountTimes * kCountWords * kWordBits;
  writer.Push(std::move(step));
}

// Counts in all ways that the device has, then the convolution, which is the plan's output.
absl::StatusOr<DevicePlan> SpeedPlan(const ConvSpeed& size, const PlanDevice& device,
                                     std::mt19937& random) {
  constexpr CodeInfo kBits = {CodeKind::kBits, 1.0F, 0, 2};
  const Shape image = {1, size.channels, size.side, size.side};
  PlanWriter writer(kRows);
  BITMILL_ASSIGN_OR_RETURN(DeviceValue in, ValueOf(image, DType::kFloat32, kBits));
  BITMILL_ASSIGN_OR_RETURN(DeviceValue out, ValueOf(image, DType::kFloat32, kBits));
  BITMILL_ASSIGN_OR_RETURN(const DeviceValue sums,
                           ValueOf({1, device.busy_items()}, DType::kInt64, CodeInfo{}));
  writer.AddBuffer(in);
  for (const char* kernel : kCounts) {
    if (device.HasKernel(kernel)) AddCount(kernel, in, sums, writer);
  }
  BITMILL_RETURN_IF_ERROR(AddLowBitConv(Convolution(size.channels, random), "convolution", in, out,
                                        device.conv_tiles(), writer));
  writer.Use(out.buffer);
  writer.plan().inputs.push_back({in.buffer, nullptr, nullptr});
  writer.plan().outputs.push_back({out.buffer, nullptr, nullptr});
  return writer.Finish();
}

// The shortest time of each operation over some runs.
absl::StatusOr<std::vector<int64_t>> ShortestTimes(const Executable& executable,
                                                   std::mt19937& random) {
  const auto row_bytes = static_cast<size_t>(executable.signature().inputs[0].row_bytes);
  std::vector<std::byte> input(row_bytes), output(row_bytes);
  for (std::byte& byte : input) byte = static_cast<std::byte>(random() % 256);
  std::array<const std::byte*, kRows> inputs{};
  std::array<std::byte*, kRows> outputs{};
  inputs.fill(input.data());
  outputs.fill(output.data());
  const std::byte* const* const input_port = inputs.data();
  std::byte* const* const output_port = outputs.data();
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  const size_t operations = executable.operations().size();
  std::vector<int64_t> shortest(operations, std::numeric_limits<int64_t>::max());
  for (int run = 0; run < kRuns; ++run) {
    std::vector<int64_t> ns(operations, 0);
    OperationTimes times{absl::MakeSpan(ns), 0};
    BITMILL_RETURN_IF_ERROR(executable.RunTimed(
        {kRows, absl::MakeConstSpan(&input_port, 1), absl::MakeConstSpan(&output_port, 1)},
        *context, times));
    for (size_t i = 0; i < operations; ++i) shortest[i] = std::min(shortest[i], ns[i]);
  }
  return shortest;
}

struct KernelRate {
  std::string kernel;
  double macs_per_s = 0.0;
};

// Of the operations that have any: the ways to count, then the convolution.
absl::StatusOr<std::vector<KernelRate>> RatesOf(const std::shared_ptr<const PlanDevice>& device,
                                                DevicePlan plan, std::mt19937& random) {
  const int64_t row_bytes = plan.buffers[static_cast<size_t>(plan.inputs[0].buffer)].row_bytes;
  const TensorSpec bits{"bits", DType::kUInt8, {row_bytes}, row_bytes};
  BITMILL_ASSIGN_OR_RETURN(
      const std::unique_ptr<DeviceExecutable> executable,
      DeviceExecutable::Create(device, Signature{{bits}, {bits}, true}, std::move(plan)));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<int64_t> ns, ShortestTimes(*executable, random));
  const std::vector<Operation> operations = executable->operations();
  std::vector<KernelRate> rates;
  for (size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].row_macs == 0) continue;
    if (ns[i] <= 0) return absl::UnimplementedError("the driver does not time its kernels");
    rates.push_back({operations[i].kernel, static_cast<double>(operations[i].row_macs * kRows) *
                                               1e9 / static_cast<double>(ns[i])});
  }
  return rates;
}

}  // namespace

absl::StatusOr<DeviceSpeed> MeasureDeviceSpeed(const std::shared_ptr<const PlanDevice>& device) {
  std::mt19937 random(1);
  DeviceSpeed speed;
  for (ConvSpeed size : kConvolutions) {
    BITMILL_ASSIGN_OR_RETURN(DevicePlan plan, SpeedPlan(size, *device, random));
    BITMILL_ASSIGN_OR_RETURN(const std::vector<KernelRate> rates,
                             RatesOf(device, std::move(plan), random));
    for (size_t i = 0; i + 1 < rates.size(); ++i) {
      double& limit = rates[i].kernel == kProducts ? speed.product_bits : speed.count_bits;
      limit = std::max(limit, rates[i].macs_per_s);
    }
    size.macs_per_s = rates.back().macs_per_s;
    speed.convolutions.push_back(size);
  }
  return speed;
}

}  // namespace bitmill
