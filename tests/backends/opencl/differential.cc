#include "tests/backends/opencl/differential.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
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
  std::vector<ConvTile> tiles = {ConvTile{}};
  for (const int32_t run : {1, 3, 1 << 20}) {
    for (const int32_t group : kBlockGroups) tiles.push_back({run, group});
  }
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
