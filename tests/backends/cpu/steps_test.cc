// Every step, on random lowered graphs, against the definition of the lowered operations; every
// instruction set, batch size and alignment must give the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_executable.h"
#include "backends/cpu/plan.h"
#include "model/passes/lowered_reference.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/support/effort.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

constexpr size_t kRows = 5;

std::vector<RowBytes> RandomRows(const Graph& graph, std::mt19937& random) {
  const Value& input = graph.value(graph.inputs[0].value);
  if (input.dtype != DType::kFloat32) {
    std::vector<RowBytes> narrow(kRows);
    for (RowBytes& row : narrow) {
      row.emplace_back(static_cast<size_t>(ElementCount(input.shape) * DTypeSize(input.dtype)));
      for (std::byte& byte : row[0]) byte = static_cast<std::byte>(random());
    }
    return narrow;
  }
  std::normal_distribution<float> normal(0.0F, 2.0F);
  const auto count = static_cast<size_t>(ElementCount(graph.value(graph.inputs[0].value).shape));
  std::vector<RowBytes> rows(kRows);
  for (RowBytes& row : rows) {
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    if (random() % 8 == 0) values[random() % count] = std::numeric_limits<float>::quiet_NaN();
    if (random() % 8 == 0) values[random() % count] = std::numeric_limits<float>::infinity();
    if (random() % 8 == 0) values[random() % count] = -0.0F;
    const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
    row.emplace_back(bytes, bytes + count * sizeof(float));
  }
  return rows;
}

std::vector<RowBytes> Expected(const Graph& graph, const std::vector<RowBytes>& rows) {
  std::vector<RowBytes> expected;
  for (const RowBytes& row : rows) {
    const Value& value = graph.value(graph.inputs[0].value);
    const TensorView view{value.dtype, value.shape, row[0].data()};
    const auto outputs = RunLoweredReference(graph, absl::MakeConstSpan(&view, 1));
    EXPECT_TRUE(outputs.ok()) << outputs.status();
    expected.emplace_back();
    for (const Tensor& tensor : *outputs) {
      const auto* const bytes = static_cast<const std::byte*>(tensor.data());
      expected.back().emplace_back(bytes, bytes + tensor.bytes());
    }
  }
  return expected;
}

// Where two rows differ first, for messages; -1 when they are the same bits.
int64_t FirstDifference(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  for (size_t i = 0; i + 4 <= a.size(); i += 4) {
    float x = 0.0F, y = 0.0F;
    std::memcpy(&x, a.data() + i, 4);
    std::memcpy(&y, b.data() + i, 4);
    if (std::isnan(x) && std::isnan(y)) continue;
    if (std::memcmp(&x, &y, 4) != 0) return static_cast<int64_t>(i / 4);
  }
  return -1;
}

void ExpectSameBits(const std::vector<RowBytes>& actual, const std::vector<RowBytes>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t r = 0; r < actual.size(); ++r) {
    ASSERT_EQ(actual[r].size(), expected[r].size());
    for (size_t i = 0; i < actual[r].size(); ++i) {
      ASSERT_EQ(actual[r][i].size(), expected[r][i].size());
      ASSERT_EQ(FirstDifference(actual[r][i], expected[r][i]), -1)
          << "row " << r << " output " << i;
    }
  }
}

void CheckExact(const Graph& graph, std::mt19937& random) {
  const std::vector<RowBytes> rows = RandomRows(graph, random);
  const std::vector<RowBytes> expected = Expected(graph, rows);
  for (const std::string& isa : IsasToTest()) {
    const auto executable = CompileLowered(graph, isa, kRows);
    ASSERT_TRUE(executable.ok()) << executable.status();
    SCOPED_TRACE((*executable)->DescribePlan());
    for (const int64_t batch : {1, 2, 5}) {
      const auto actual = RunRows(**executable, rows, batch, batch == 2 ? 1 : 64);
      ASSERT_TRUE(actual.ok()) << actual.status();
      SCOPED_TRACE(testing::Message() << isa << " batch " << batch);
      ASSERT_NO_FATAL_FAILURE(ExpectSameBits(*actual, expected));
    }
  }
}

void CheckMany(const LoweredKind& kind, int rounds) {
  std::mt19937 random(11);
  for (int round = 0; round < Rounds(rounds); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const Graph graph = RandomLowered(kind, random);
    ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
  }
}

// Signs of numbers of 8 and 16 bits, thresholds of a channel and for all, inverted or not.
TEST(QuantizeStepTest, TakesSignsOfNarrowNumbersAsTheyAre) {
  std::mt19937 random(17);
  for (const DType dtype : {DType::kInt8, DType::kUInt8, DType::kFloat16, DType::kBFloat16}) {
    for (int round = 0; round < Rounds(12); ++round) {
      Graph graph = RandomLowered({.bits_in = true, .dense = round % 3 == 0}, random);
      const ValueId input = graph.inputs[0].value;
      ASSERT_EQ(graph.nodes[0].inputs[0], input);
      auto* const quantize = std::get_if<QuantizeOp>(&graph.nodes[0].lowered);
      ASSERT_NE(quantize, nullptr);
      graph.value(input).dtype = graph.inputs[0].dtype = dtype;
      if (dtype == DType::kInt8 || dtype == DType::kUInt8) {
        for (float& threshold : quantize->bit_thresholds) threshold *= 100.0F;
      }
      SCOPED_TRACE(testing::Message() << DTypeName(dtype) << " round " << round);
      ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
    }
  }
}

class LowBitConvStepTest : public testing::TestWithParam<LoweredKind> {};

TEST_P(LowBitConvStepTest, MatchesTheDefinition) { CheckMany(GetParam(), 10); }

TEST_P(LowBitConvStepTest, MatchesTheDefinitionOnVectors) {
  LoweredKind kind = GetParam();
  kind.dense = true;
  CheckMany(kind, 8);
}

TEST_P(LowBitConvStepTest, MatchesTheDefinitionInSlices) {
  std::mt19937 random(12);
  const Graph graph = RandomLowered(LargeDense(GetParam()), random);
  ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
  const bool unpacks = GetParam().bits_in && GetParam().weight_bits > 1 && !GetParam().ternary;
  const auto executable = CompileLowered(graph, "auto", kRows);
  ASSERT_TRUE(executable.ok()) << executable.status();
  EXPECT_EQ(absl::StrContains((*executable)->DescribePlan(), "slices"), !unpacks)
      << (*executable)->DescribePlan();
}

std::vector<LoweredKind> AllKinds() {
  std::vector<LoweredKind> kinds;
  for (const bool bits_in : {true, false}) {
    for (const int weight_bits : {1, 2, 4, 8}) {
      for (const bool ternary : {false, true}) {
        if (ternary && weight_bits != 2) continue;
        for (const Epilogue epilogue :
             {Epilogue::kFloat, Epilogue::kThresholds, Epilogue::kRequantize}) {
          for (const bool bits_out : {true, false}) {
            if (bits_out && epilogue != Epilogue::kThresholds) continue;
            kinds.push_back({.bits_in = bits_in,
                             .weight_bits = weight_bits,
                             .ternary = ternary,
                             .epilogue = epilogue,
                             .bits_out = bits_out});
          }
        }
      }
    }
  }
  return kinds;
}

std::string KindName(const testing::TestParamInfo<LoweredKind>& info) {
  const LoweredKind& kind = info.param;
  const std::string weights = kind.ternary ? "Ternary" : absl::StrCat("W", kind.weight_bits);
  const char* const target = kind.epilogue == Epilogue::kFloat        ? "ToFloat"
                             : kind.epilogue == Epilogue::kRequantize ? "ToCodesByScale"
                             : kind.bits_out                          ? "ToBits"
                                                                      : "ToCodes";
  return absl::StrCat(kind.bits_in ? "Bits" : "Codes", weights, target);
}

INSTANTIATE_TEST_SUITE_P(All, LowBitConvStepTest, testing::ValuesIn(AllKinds()), KindName);

TEST(LowBitConvStepTest, EveryChannelCountFrom1To130) {
  std::mt19937 random(12);
  for (int64_t channels = 1; channels <= 130; channels += kSlowRun ? 3 : 1) {
    SCOPED_TRACE(testing::Message() << channels << " channels");
    LoweredKind kind;
    kind.channels = channels;
    kind.epilogue = Epilogue::kThresholds;
    ASSERT_NO_FATAL_FAILURE(CheckExact(RandomLowered(kind, random), random));
    kind.bits_in = false;
    kind.weight_bits = 2;
    ASSERT_NO_FATAL_FAILURE(CheckExact(RandomLowered(kind, random), random));
  }
}

LoweredKind ImageKind(int round, std::mt19937& random) {
  const auto kinds = AllKinds();
  LoweredKind kind = kinds[random() % kinds.size()];
  kind.bits_in = false;
  kind.channels = 1 + round % 3;
  return kind;
}

TEST(LowBitConvStepTest, ImagesOfFewChannelsMatchTheDefinition) {
  std::mt19937 random(16);
  for (int round = 0; round < Rounds(120); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    ASSERT_NO_FATAL_FAILURE(CheckExact(RandomLowered(ImageKind(round, random), random), random));
  }
}

TEST(LowBitConvStepTest, FirstLayersMatchTheDefinition) {
  std::mt19937 random(21);
  int with_ends = 0;
  for (int round = 0; round < Rounds(120); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    LoweredKind kind = ImageKind(round, random);
    kind.first_layer = true;
    const Graph graph = RandomLowered(kind, random);
    ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
    const auto executable = CompileLowered(graph, "ref", kRows);
    ASSERT_TRUE(executable.ok()) << executable.status();
    if (absl::StrContains((*executable)->DescribePlan(), " ends")) ++with_ends;
  }
  EXPECT_GT(with_ends, Rounds(120) / 5);
}

TEST(LowBitConvStepTest, DepthwiseLayersMatchTheDefinition) {
  std::mt19937 random(18);
  std::vector<LoweredKind> kinds;
  for (const LoweredKind& kind : AllKinds()) {
    if (kind.bits_in && (kind.weight_bits == 1 || kind.ternary)) kinds.push_back(kind);
  }
  int counted = 0, ternary = 0;
  for (int round = 0; round < Rounds(120); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    LoweredKind kind = kinds[static_cast<size_t>(round) % kinds.size()];
    kind.depthwise = true;
    kind.channels = round % 3 == 0 ? 64 * (1 + round % 4) : 0;
    const Graph graph = RandomLowered(kind, random);
    ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
    const auto executable = CompileLowered(graph, "auto", kRows);
    ASSERT_TRUE(executable.ok()) << executable.status();
    const std::string plan = (*executable)->DescribePlan();
    if (absl::StrContains(plan, "bdepth_")) ++counted;
    if (absl::StrContains(plan, " ternary")) ++ternary;
  }
  EXPECT_GT(counted, Rounds(100));
  EXPECT_GT(ternary, Rounds(40));
}

// Any part of the blocks is empty: whichever form each level takes, the outputs are the same.
TEST(SparseWeightsTest, PrunedLayersMatchTheDefinition) {
  std::mt19937 random(17);
  int sparse = 0, dense = 0;
  for (int round = 0; round < Rounds(100); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const auto kinds = AllKinds();
    LoweredKind kind = kinds[random() % kinds.size()];
    while (kind.weight_bits == 1) kind = kinds[random() % kinds.size()];
    kind.pruned = true;
    kind.channels = round % 4 == 0 ? 0 : 128 + random() % 200;
    kind.dense = round % 5 == 0;
    const Graph graph = RandomLowered(kind, random);
    ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
    bool any = false;  // break-even densities differ from level to level
    for (const std::string& isa : IsasToTest()) {
      const auto executable = CompileLowered(graph, isa, kRows);
      ASSERT_TRUE(executable.ok()) << executable.status();
      any = any || absl::StrContains((*executable)->DescribePlan(), " sparse ");
    }
    ++(any ? sparse : dense);
  }
  EXPECT_GT(sparse, Rounds(40));
  EXPECT_GT(dense, Rounds(5));
}

TEST(SparseWeightsTest, TwoOfFourLayersMatchTheDefinition) {
  std::mt19937 random(20);
  int taken = 0;
  for (int round = 0; round < Rounds(40); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const auto kinds = AllKinds();
    LoweredKind kind = kinds[random() % kinds.size()];
    while (kind.weight_bits == 1 || kind.bits_in) kind = kinds[random() % kinds.size()];
    kind.two_of_four = true;
    kind.channels = 4 * (1 + static_cast<int64_t>(random() % 40));
    const Graph graph = RandomLowered(kind, random);
    ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
    const auto executable = CompileLowered(graph, "auto", kRows);
    ASSERT_TRUE(executable.ok()) << executable.status();
    if (absl::StrContains((*executable)->DescribePlan(), " 2:4")) ++taken;
  }
  // The processor decides whether the form pays.
  EXPECT_TRUE(taken == 0 || taken > Rounds(8)) << taken;
}

TEST(LineStepTest, ResidualNetworksMatchTheDefinition) {
  std::mt19937 random(16);
  int fused = 0, pooled = 0;
  for (int round = 0; round < Rounds(100); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const Graph graph = RandomResidual(random);
    ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
    const auto executable = CompileLowered(graph, "auto", kRows);
    ASSERT_TRUE(executable.ok()) << executable.status();
    const std::string plan = (*executable)->DescribePlan();
    if (absl::StrContains(plan, " + elementwise")) ++fused;
    if (absl::StrContains(plan, " + max pool") || absl::StrContains(plan, " + average")) ++pooled;
  }
  EXPECT_GT(fused, Rounds(20));
  EXPECT_GT(pooled, Rounds(20));
}

TEST(LineStepTest, JoinedMapsMatchTheDefinition) {
  std::mt19937 random(23);
  int in_place = 0;
  for (int round = 0; round < Rounds(100); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const Graph graph = RandomJoined(random);
    ASSERT_NO_FATAL_FAILURE(CheckExact(graph, random));
    const auto executable = CompileLowered(graph, "auto", kRows);
    ASSERT_TRUE(executable.ok()) << executable.status();
    if (absl::StrContains((*executable)->DescribePlan(), "concat in place")) ++in_place;
  }
  EXPECT_GT(in_place, Rounds(20));
}

TEST(PoolStepTest, MatchesTheDefinition) {
  std::mt19937 random(13);
  for (int round = 0; round < Rounds(200); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    ASSERT_NO_FATAL_FAILURE(CheckExact(RandomPooling(round % 2 == 0, random), random));
  }
}

// Sums of floats differ in order from the definition's double sum: within 1e-5 of the largest
// magnitude that occurs. Batch size and position must not matter at all.
void CheckFloat(const Graph& graph, std::mt19937& random) {
  std::vector<RowBytes> rows(kRows);
  std::normal_distribution<float> normal(0.0F, 2.0F);
  const auto count = static_cast<size_t>(ElementCount(graph.value(graph.inputs[0].value).shape));
  for (RowBytes& row : rows) {
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
    row.emplace_back(bytes, bytes + count * sizeof(float));
  }
  const std::vector<RowBytes> expected = Expected(graph, rows);
  const auto executable = CompileLowered(graph, "auto", kRows);
  ASSERT_TRUE(executable.ok()) << executable.status();
  SCOPED_TRACE((*executable)->DescribePlan());
  const auto one = RunRows(**executable, rows, 1);
  ASSERT_TRUE(one.ok()) << one.status();
  for (size_t r = 0; r < kRows; ++r) {
    const auto* const a = reinterpret_cast<const float*>((*one)[r][0].data());
    const auto* const b = reinterpret_cast<const float*>(expected[r][0].data());
    const size_t elements = expected[r][0].size() / sizeof(float);
    float largest = 1.0F;
    for (size_t i = 0; i < elements; ++i) largest = std::max(largest, std::fabs(b[i]));
    for (size_t i = 0; i < elements; ++i) ASSERT_NEAR(a[i], b[i], 1e-5F * largest) << i;
  }
  for (const int64_t batch : {2, 5}) {
    const auto many = RunRows(**executable, rows, batch, batch == 2 ? 2 : 4);
    ASSERT_TRUE(many.ok()) << many.status();
    ASSERT_NO_FATAL_FAILURE(ExpectSameBits(*many, *one));
  }
}

// The rows of each output one behind the other, from `offset` bytes past a boundary on.
std::vector<RowBytes> RunSideBySide(const Executable& executable, const std::vector<RowBytes>& rows,
                                    size_t offset) {
  constexpr std::byte kGuard{0x5a};
  const std::vector<TensorSpec>& specs = executable.signature().outputs;
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::vector<std::byte*>> output_rows(specs.size());
  std::vector<std::byte* const*> outputs;
  for (size_t i = 0; i < specs.size(); ++i) {
    const auto row_bytes = static_cast<size_t>(specs[i].row_bytes);
    memory.emplace_back(offset + rows.size() * row_bytes + 1, kGuard);
    for (size_t r = 0; r < rows.size(); ++r) {
      output_rows[i].push_back(memory[i].data() + offset + r * row_bytes);
    }
    outputs.push_back(output_rows[i].data());
  }
  std::vector<const std::byte*> input_rows;
  for (const RowBytes& row : rows) input_rows.push_back(row[0].data());
  const std::byte* const* const inputs[] = {input_rows.data()};
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  const absl::Status status =
      executable.Run({static_cast<int64_t>(rows.size()), inputs, outputs}, *context);
  EXPECT_TRUE(status.ok()) << status;
  std::vector<RowBytes> results(rows.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_TRUE(memory[i].back() == kGuard && (offset == 0 || memory[i][offset - 1] == kGuard));
    for (size_t r = 0; r < rows.size(); ++r) {
      results[r].emplace_back(output_rows[i][r], output_rows[i][r] + specs[i].row_bytes);
    }
  }
  return results;
}

TEST(OutputStepTest, RowsThatAreComputedWhereTheyBelongHaveTheSameBits) {
  std::mt19937 random(19);
  size_t in_place = 0;
  for (int round = 0; round < 12; ++round) {
    const Graph graph = RandomLowered({.bits_in = round % 2 == 0}, random);
    const std::vector<RowBytes> rows = RandomRows(graph, random);
    const std::vector<RowBytes> expected = Expected(graph, rows);
    absl::StatusOr<Plan> plan = BuildPlan(graph, *SelectKernels("auto"), kRows);
    ASSERT_TRUE(plan.ok()) << plan.status();
    in_place += plan->outputs.size();
    const CpuExecutable executable(SignatureOfLowered(graph), *std::move(plan), kRows, "test");
    for (const size_t offset : {0, 4, 1}) {
      SCOPED_TRACE(testing::Message() << "round " << round << " offset " << offset);
      ASSERT_NO_FATAL_FAILURE(ExpectSameBits(RunSideBySide(executable, rows, offset), expected));
    }
  }
  EXPECT_GE(in_place, 6);
}

TEST(FloatStepTest, ConvolutionsMatchTheDefinition) {
  std::mt19937 random(14);
  for (int round = 0; round < Rounds(60); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    ASSERT_NO_FATAL_FAILURE(CheckFloat(RandomFloat(false, random), random));
  }
}

TEST(FloatStepTest, DenseLayersMatchTheDefinition) {
  std::mt19937 random(15);
  for (int round = 0; round < Rounds(60); ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    ASSERT_NO_FATAL_FAILURE(CheckFloat(RandomFloat(true, random), random));
  }
}

}  // namespace
}  // namespace bitmill
