#include "tests/backends/opencl/differential.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/block_conv.h"
#include "backends/device/plan_writer.h"
#include "base/status_macros.h"
#include "base/tensor.h"
#include "model/passes/lowered_reference.h"
#include "model/passes/passes.h"
#include "tests/backends/cpu/plan_runner.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

std::vector<RowBytes> RandomRows(const Graph& graph, size_t count, std::mt19937& random) {
  std::vector<RowBytes> rows(count);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  for (RowBytes& row : rows) {
    for (const GraphPort& port : graph.inputs) {
      const auto elements = static_cast<size_t>(ElementCount(graph.value(port.value).shape));
      std::vector<float> values(elements);
      for (float& value : values) value = normal(random);
      std::vector<std::byte>& bytes = row.emplace_back(elements * sizeof(float));
      std::memcpy(bytes.data(), values.data(), bytes.size());
    }
  }
  return rows;
}

absl::StatusOr<RowBytes> ReferenceRow(const Graph& graph, const RowBytes& row) {
  std::vector<TensorView> views;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const Value& value = graph.value(graph.inputs[i].value);
    views.push_back({value.dtype, value.shape, row[i].data()});
  }
  BITMILL_ASSIGN_OR_RETURN(const std::vector<Tensor> outputs, RunLoweredReference(graph, views));
  RowBytes bytes;
  for (const Tensor& output : outputs) {
    const auto* const data = static_cast<const std::byte*>(output.data());
    bytes.emplace_back(data, data + output.bytes());
  }
  return bytes;
}

}  // namespace

void CheckAgainstReference(const Graph& graph, const MakeExecutable& make, std::mt19937& random,
                           const ChooseConvTile& choose, int64_t count) {
  const std::vector<RowBytes> rows = RandomRows(graph, static_cast<size_t>(count), random);
  absl::StatusOr<DevicePlan> plan = BuildDevicePlan(graph, count, choose);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const absl::StatusOr<std::unique_ptr<Executable>> made = make(graph, *std::move(plan));
  ASSERT_TRUE(made.ok()) << made.status();
  const Executable* const executable = made->get();
  std::vector<RowBytes> wanted;
  for (const RowBytes& row : rows) {
    absl::StatusOr<RowBytes> answer = ReferenceRow(graph, row);
    ASSERT_TRUE(answer.ok()) << answer.status();
    wanted.push_back(*std::move(answer));
  }
  for (const int64_t batch : {count, int64_t{1}}) {
    const auto got = RunRows(*executable, rows, batch);
    ASSERT_TRUE(got.ok()) << got.status();
    for (size_t r = 0; r < rows.size(); ++r) {
      ASSERT_EQ(got->at(r), wanted[r]) << "row " << r << " in batches of " << batch << "\n"
                                       << executable->DescribePlan();
    }
  }
}

namespace {

struct BitConv {
  LowBitConvOp op;
  DeviceValue in, out;
};

int64_t Draw(std::mt19937& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

BitConv RandomBitConv(std::mt19937& random) {
  BitConv conv;
  LowBitConvOp& op = conv.op;
  const int64_t channels = 64 * Draw(random, 1, 2), outputs = Draw(random, 1, 200);
  const int64_t kernel_h = Draw(random, 1, 4), kernel_w = Draw(random, 1, 5);
  auto weights = std::make_shared<Tensor>(
      Tensor::Zeros(DType::kInt8, {outputs, channels, kernel_h, kernel_w}));
  for (int8_t& weight : weights->span<int8_t>()) weight = random() % 2 == 0 ? 1 : -1;
  op.weights = std::move(weights);
  op.weight_bits = 1;
  op.stride_h = Draw(random, 1, 2);
  op.dilation_h = Draw(random, 1, 2);
  op.pad_top = Draw(random, 0, kernel_h - 1);
  op.pad_bottom = Draw(random, 0, kernel_h - 1);
  op.pad_left = Draw(random, 0, kernel_w - 1);
  op.pad_right = Draw(random, 0, kernel_w - 1);
  constexpr Padding kPaddings[] = {Padding::kZero, Padding::kPlusOne, Padding::kMinusOne};
  op.padding = kPaddings[random() % 3];
  op.epilogue = Epilogue::kThresholds;
  const int64_t spread = channels * kernel_h * kernel_w / 8 + 1;
  for (int64_t o = 0; o < outputs; ++o) {
    const int64_t kind = Draw(random, 0, 15);
    op.thresholds.push_back(kind == 0   ? std::numeric_limits<int32_t>::max()
                            : kind == 1 ? std::numeric_limits<int32_t>::min() + 1
                                        : static_cast<int32_t>(Draw(random, -spread, spread)));
    op.flip.push_back(static_cast<uint8_t>(random() % 2));
  }
  Value value;
  value.dtype = DType::kFloat32;
  value.code = {CodeKind::kBits, 1.0F, 0, 2};
  const int64_t height = Draw(random, (kernel_h - 1) * op.dilation_h + 1, 12);
  const int64_t width = Draw(random, kernel_w + 4, 40);
  value.shape = {1, channels, height, width};
  conv.in = *DeviceValueOf(value);
  value.shape = {
      1, outputs,
      (height + op.pad_top + op.pad_bottom - (kernel_h - 1) * op.dilation_h - 1) / op.stride_h + 1,
      width + op.pad_left + op.pad_right - kernel_w + 1};
  conv.out = *DeviceValueOf(value);
  return conv;
}

absl::StatusOr<std::vector<RowBytes>> RunTile(const BitConv& conv, const ConvTile& tile,
                                              const std::vector<RowBytes>& rows,
                                              const MakeFromPlan& make) {
  PlanWriter writer(static_cast<int64_t>(rows.size()));
  DeviceValue in = conv.in, out = conv.out;
  writer.AddBuffer(in);
  BITMILL_RETURN_IF_ERROR(AddLowBitConv(
      conv.op, "convolution", in, out, [&tile](const ConvShape&) { return tile; }, writer));
  writer.Use(out.buffer);
  writer.plan().inputs.push_back({in.buffer, nullptr});
  writer.plan().outputs.push_back({out.buffer, nullptr});
  BITMILL_ASSIGN_OR_RETURN(DevicePlan plan, writer.Finish());
  if ((tile.lines > 0) != (plan.steps[0].kernel == kSliceKernel)) {
    return absl::InternalError(absl::StrCat("computed by ", plan.steps[0].kernel));
  }
  const auto spec_of = [&plan](const DevicePort& port) {
    const int64_t bytes = plan.buffers[static_cast<size_t>(port.buffer)].row_bytes;
    return TensorSpec{"bits", DType::kUInt8, {bytes}, bytes};
  };
  const Signature signature{{spec_of(plan.inputs[0])}, {spec_of(plan.outputs[0])}, true};
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> made,
                           make(signature, std::move(plan)));
  return RunRows(*made, rows, static_cast<int64_t>(rows.size()));
}

}  // namespace

void CheckSlices(const MakeFromPlan& make, int count, std::mt19937& random) {
  for (int i = 0; i < count; ++i) {
    const BitConv conv = RandomBitConv(random);
    std::vector<RowBytes> rows(2);
    for (RowBytes& row : rows) {
      row.emplace_back(static_cast<size_t>(conv.in.pixels() * conv.in.pixel_bytes));
      for (std::byte& byte : row[0]) byte = static_cast<std::byte>(random() % 256);
    }
    const auto wanted = RunTile(conv, ConvTile{}, rows, make);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    for (const auto& [lines, blocks] : {std::pair{1, 1}, {2, 2}, {4, 1}, {1, 4}, {100, 100}}) {
      const ConvTile tile{.group_items = kSliceGroup, .lines = lines, .blocks = blocks};
      const auto got = RunTile(conv, tile, rows, make);
      ASSERT_TRUE(got.ok()) << got.status();
      ASSERT_EQ(*got, *wanted) << ShapeOf(conv.op, conv.in, conv.out).Key() << ", pads "
                               << conv.op.pad_top << " " << conv.op.pad_left << ", " << tile.Text();
    }
  }
}

void CheckGoldenModel(const GoldenModel& model, const Backend& device, const Backend& cpu) {
  constexpr size_t kRows = 8;
  constexpr int64_t kBatch = 7;
  const auto graph = ReadGoldenGraph(model);
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto golden = ReadGoldenRows(model);
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto lowered = Lower(*graph);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  const auto plan = BuildDevicePlan(*lowered, 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const auto rows =
      absl::MakeConstSpan(golden->inputs).first(std::min(kRows, golden->inputs.size()));
  const auto trusted = cpu.Compile(*graph, {.max_rows = kBatch});
  ASSERT_TRUE(trusted.ok()) << trusted.status();
  const auto wanted = RunRows(**trusted, rows, (*trusted)->max_rows());
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  const auto executable = device.Compile(*graph, {.max_rows = kBatch});
  ASSERT_TRUE(executable.ok()) << executable.status();
  const int64_t most = (*executable)->max_rows();
  for (const int64_t batch : {int64_t{1}, std::min<int64_t>(3, most), most}) {
    const auto got = RunRows(**executable, rows, batch, 1);
    ASSERT_TRUE(got.ok()) << got.status();
    for (size_t r = 0; r < rows.size(); ++r) {
      if (plan->exact) {
        ASSERT_EQ(got->at(r), wanted->at(r)) << "row " << r << " in batches of " << batch;
      } else {
        ASSERT_LE(LargestGap(got->at(r), wanted->at(r)), golden->tolerance) << "row " << r;
      }
    }
  }
  EXPECT_EQ((*executable)->backend_name(), device.name()) << "the CPU took over";
}

std::vector<ConvTile> AllConvTiles() {
  std::vector<ConvTile> tiles;
  for (const int32_t group : kOctetGroups) tiles.push_back({.group_items = group});
  for (const int32_t run : {1, 3, 1 << 20}) {
    for (const int32_t group : kBlockGroups) tiles.push_back({run, group});
  }
  tiles.push_back({.group_items = kSliceGroup, .lines = 2, .blocks = 1});
  return tiles;
}

std::vector<LoweredKind> AllLoweredKinds() {
  std::vector<LoweredKind> kinds;
  for (const bool bits_in : {true, false}) {
    for (const int weight_bits : {1, 2, 4, 8}) {
      for (const bool ternary : {false, true}) {
        if (ternary && weight_bits != 2) continue;
        for (const Epilogue epilogue :
             {Epilogue::kFloat, Epilogue::kThresholds, Epilogue::kRequantize}) {
          for (const bool bits_out : {true, false}) {
            if (epilogue != Epilogue::kThresholds && bits_out) continue;
            LoweredKind kind;
            kind.bits_in = bits_in;
            kind.weight_bits = weight_bits;
            kind.ternary = ternary;
            kind.epilogue = epilogue;
            kind.bits_out = bits_out;
            kinds.push_back(kind);
          }
        }
      }
    }
  }
  return kinds;
}

std::string KindName(const LoweredKind& kind) {
  constexpr const char* kEpilogues[] = {"float", "thresholds", "requantize"};
  return absl::StrCat(kind.bits_in ? "bits" : "codes", "_x_",
                      kind.ternary ? "ternary" : absl::StrCat(kind.weight_bits), "_to_",
                      kEpilogues[static_cast<int>(kind.epilogue)], kind.bits_out ? "_bits" : "");
}

}  // namespace bitmill
