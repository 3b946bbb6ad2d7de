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

#include "backends/device/block_conv.h"
#include "backends/device/device_executable.h"
#include "backends/device/plan_writer.h"
#include "backends/device/tune_tiles.h"
#include "base/status_macros.h"
#include "base/tensor.h"

namespace bitmill {
namespace {

constexpr int64_t kRows = 8;
constexpr int64_t kKernel = 3;
constexpr std::pair<int64_t, int64_t> kConvolutions[] = {{56, 64}, {28, 128}, {14, 256}, {7, 512}};
// About as long as a convolution takes, and several times, since the limit is the fastest of these
// as a convolution is the fastest of its tiles: on a busy machine either needs its luck.
constexpr int32_t kCountTimes = 128;  // of an item
constexpr int kCountRepeats = 4, kMoreTries = 20;
constexpr int64_t kCountWords = 32, kWordBits = 64;
constexpr char kProducts[] = "bm_count_products";
constexpr const char* kCounts[] = {"bm_count_words",  "bm_count_vectors", "bm_count_carries",
                                   "bm_count_slices", kProducts,          kCountGroups};
constexpr int32_t kGroupTimes = 64;  // so much longer, for products of groups count so much faster
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
  const bool groups = step.kernel == kCountGroups;
  if (groups) step.group_items = kCountGroup;
  const int32_t times = kCountTimes * (groups ? kGroupTimes : 1);
  step[device::kSpan] = times;
  step[device::kItems] = items;
  step.macs = int64_t{items} * times * kCountWords * kWordBits;
  writer.Push(std::move(step));
}

// Counts in all ways that the device has, then the convolution in all tiles, of which the last one
// is the plan's output.
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
    if (!device.HasKernel(kernel)) continue;
    for (int i = 0; i < kCountRepeats; ++i) AddCount(kernel, in, sums, writer);
  }
  const LowBitConvOp convolution = Convolution(size.channels, random);
  ConvShape shape = ShapeOf(convolution, in, out);
  shape.rows = kRows;
  std::vector<ConvTile> tiles = TilesOf(device, shape);
  // Octets are several times as slow where blocks are usual, and would take most of the time.
  if (tiles[0].run > 0) {
    std::erase_if(tiles, [](const ConvTile& tile) { return tile.run == 0 && tile.lines == 0; });
  }
  BITMILL_RETURN_IF_ERROR(AddTiles(convolution, tiles, in, out, writer));
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

// Adds what the operations of the plan reach: the fastest count is the limit, the fastest tile of
// the convolution counts.
absl::Status AddRates(const std::shared_ptr<const PlanDevice>& device, DevicePlan plan,
                      std::mt19937& random, ConvSpeed& size, DeviceSpeed& speed) {
  const int64_t row_bytes = plan.buffers[static_cast<size_t>(plan.inputs[0].buffer)].row_bytes;
  const TensorSpec bits{"bits", DType::kUInt8, {row_bytes}, row_bytes};
  BITMILL_ASSIGN_OR_RETURN(
      const std::unique_ptr<DeviceExecutable> executable,
      DeviceExecutable::Create(device, Signature{{bits}, {bits}, true}, std::move(plan)));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<int64_t> ns, ShortestTimes(*executable, random));
  const std::vector<Operation> operations = executable->operations();
  for (size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].row_macs == 0) continue;
    if (ns[i] <= 0) return absl::UnimplementedError("the driver does not time its kernels");
    const double rate =
        static_cast<double>(operations[i].row_macs * kRows) * 1e9 / static_cast<double>(ns[i]);
    const auto is_own = [&](const char* kernel) { return operations[i].kernel == kernel; };
    if (is_own(kProducts) || is_own(kCountGroups)) {
      speed.product_bits = std::max(speed.product_bits, rate);
    } else if (std::ranges::any_of(kCounts, is_own)) {
      speed.count_bits = std::max(speed.count_bits, rate);
    } else if (rate > size.macs_per_s) {
      size.macs_per_s = rate;
      size.tile = operations[i].name;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeviceSpeed> MeasureDeviceSpeed(const std::shared_ptr<const PlanDevice>& device) {
  std::mt19937 random(1);
  DeviceSpeed speed;
  const auto measure = [&](ConvSpeed& size) -> absl::Status {
    BITMILL_ASSIGN_OR_RETURN(DevicePlan plan, SpeedPlan(size, *device, random));
    return AddRates(device, std::move(plan), random, size, speed);
  };
  double fastest = 0.0;
  for (const auto& [side, channels] : kConvolutions) {
    ConvSpeed size{side, channels, 0.0, ""};
    BITMILL_RETURN_IF_ERROR(measure(size));
    fastest = std::max(fastest, size.macs_per_s);
    speed.convolutions.push_back(size);
  }
  // No convolution is faster than counting: where one was, counting was disturbed every time.
  const auto disturbed = [&] { return speed.limit() > 0.0 && speed.limit() <= fastest; };
  for (int i = 0; i < kMoreTries && disturbed(); ++i) {
    ConvSpeed size{kConvolutions[0].first, kConvolutions[0].second, 0.0, ""};
    BITMILL_RETURN_IF_ERROR(measure(size));
  }
  return speed;
}

}  // namespace bitmill
