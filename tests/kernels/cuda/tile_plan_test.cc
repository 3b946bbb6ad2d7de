// Plans for CUDA, run on the host by the tile kernels themselves, their instructions emulated:
// random graphs against the reference of lowered graphs, and the golden models against the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/conv_tiles.h"
#include "backends/device/device_plan.h"
#include "model/passes/passes.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/opencl/differential.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/backends/opencl/host_executable.h"
#include "tests/kernels/cuda/tile_kernels.h"

namespace bitmill {
namespace {

// What ran is told by the kernels of the plans, so that no kernel stays untested.
std::set<std::string>& KernelsSeen() {
  static std::set<std::string> seen;
  return seen;
}

const MakeExecutable kOnTheHost = [](const Graph& graph, DevicePlan plan) {
  for (const DeviceStep& step : plan.steps) {
    KernelsSeen().insert(step.kernel);
    KernelsSeen().insert(step.few_kernel);
  }
  return absl::StatusOr<std::unique_ptr<Executable>>(
      MakeHostExecutable(SignatureOfLowered(graph), std::move(plan)));
};

// As CudaConvTiles, with tiles of `pixels` whatever the size.
ChooseConvTile Tiles(int compute_capability, int32_t pixels) {
  return [choose = CudaConvTiles(compute_capability), pixels](const ConvShape& shape) {
    ConvTile tile = choose(shape);
    tile.pixels = pixels;
    return tile;
  };
}

// Products of a group, whatever the size: 128 pixels by `outputs`.
ChooseConvTile GroupTiles(int compute_capability, int32_t outputs) {
  return [choose = CudaConvTiles(compute_capability), outputs](const ConvShape& shape) {
    ConvTile tile = choose(shape);
    if (tile.tensor == ConvTensor::kNone) return tile;
    tile.pixels = 128;
    tile.outputs = outputs;
    tile.by_group = true;
    return tile;
  };
}

// Dense layers in one batch run as tiles, their rows one by one as few.
int64_t RowsOf(const LoweredKind& kind) { return kind.dense ? 6 : 3; }

class TilePlanTest : public testing::TestWithParam<LoweredKind> {};

TEST_P(TilePlanTest, ConvolutionsAndDenseLayersGiveTheReferencesBits) {
  std::mt19937 random(41);
  for (int i = 0; i < 12; ++i) {
    LoweredKind kind = GetParam();
    kind.dense = i % 4 == 3;
    kind.channels = i < 2 ? 64 + 64 * i : 0;  // words by one and by two
    const int capability = i % 2 == 0 ? 90 : 100;
    const int32_t pixels = i % 3 == 0 ? 128 : 32;
    SCOPED_TRACE(absl::StrCat("graph ", i, ", capability ", capability, ", ", pixels, " pixels"));
    CheckAgainstReference(RandomLowered(kind, random), kOnTheHost, random,
                          Tiles(capability, pixels), RowsOf(kind));
    if (HasFatalFailure()) return;
  }
}

TEST_P(TilePlanTest, ProductsOfGroupsGiveTheReferencesBits) {
  std::mt19937 random(53);
  for (int i = 0; i < 8; ++i) {
    LoweredKind kind = GetParam();
    kind.dense = i % 4 == 3;
    kind.channels = i < 2 ? 64 + 64 * i : 0;
    const int capability = i % 4 < 2 ? 90 : 100;  // bits as bits, and as bytes
    const int32_t outputs = i % 2 == 0 ? 128 : 64;
    SCOPED_TRACE(absl::StrCat("graph ", i, ", capability ", capability, ", ", outputs, " outputs"));
    CheckAgainstReference(RandomLowered(kind, random), kOnTheHost, random,
                          GroupTiles(capability, outputs), RowsOf(kind));
    if (HasFatalFailure()) return;
  }
}

TEST_P(TilePlanTest, GroupsGiveTheReferencesBits) {
  std::mt19937 random(61);
  for (int i = 0; i < 2; ++i) {
    LoweredKind kind = GetParam();
    kind.groups = 2 + i;
    kind.channels = kind.groups * (kind.bits_in ? 64 : 24);
    kind.outputs = kind.groups * 64;
    const int capability = i == 0 ? 90 : 100;
    SCOPED_TRACE(absl::StrCat("graph ", i, ", capability ", capability));
    const Graph graph = RandomLowered(kind, random);
    const auto plan = BuildDevicePlan(graph, 1, CudaConvTiles(capability));
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_TRUE(std::any_of(plan->steps.begin(), plan->steps.end(), [](const DeviceStep& step) {
      return step[device::kPixelWords] > step[device::kSpan] && step.tiles.threads > 0;
    })) << DescribeDevicePlan(*plan, "");
    CheckAgainstReference(graph, kOnTheHost, random, Tiles(capability, 32 + 96 * i));
    CheckAgainstReference(graph, kOnTheHost, random, GroupTiles(capability, 64));
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TilePlanTest, testing::ValuesIn(AllLoweredKinds()),
                         [](const testing::TestParamInfo<LoweredKind>& param) {
                           return KindName(param.param);
                         });

TEST(TilePlanStepsTest, ResidualNetworksGiveTheReferencesBits) {
  std::mt19937 random(43);
  for (int i = 0; i < 10; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    CheckAgainstReference(RandomResidual(random), kOnTheHost, random, CudaConvTiles(89));
    if (HasFatalFailure()) return;
  }
}

TEST(TilePlanStepsTest, DenseLayersOfFewRowsGiveTheReferencesBits) {
  std::mt19937 random(59);
  for (LoweredKind kind : AllLoweredKinds()) {
    kind.dense = true;
    SCOPED_TRACE(KindName(kind));
    for (const int capability : {90, 100}) {
      for (int64_t rows = 1; rows <= 5; rows += 2) {
        kind.channels = rows == 1 ? 700 : 0;  // more stages than warps, and words that end early
        CheckAgainstReference(RandomLowered(kind, random), kOnTheHost, random,
                              CudaConvTiles(capability), rows);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(TilePlanStepsTest, EveryTileKernelRan) {
  std::mt19937 random(47);
  for (const LoweredKind& kind : AllLoweredKinds()) {
    const Graph graph = RandomLowered(kind, random);
    for (const int capability : {80, 120}) {
      for (const int32_t size : {1, 2}) {
        CheckAgainstReference(graph, kOnTheHost, random, Tiles(capability, size == 1 ? 32 : 128));
        CheckAgainstReference(graph, kOnTheHost, random, GroupTiles(capability, 64 * size));
        if (HasFatalFailure()) return;
      }
    }
  }
  for (const TileKernel& kernel : TileKernels()) {
    EXPECT_EQ(KernelsSeen().count(kernel.name), 1U) << kernel.name;
  }
}

// All that is counted is multiplied: the sums are those of all pixels with all outputs, each turn.
TEST(GroupCeilingTest, MultipliesAllThatIsCounted) {
  constexpr int kTurns = 3;
  for (const bool bits : {true, false}) {
    std::vector<unsigned char> lines;
    const std::vector<int> sums = RunGroupCeiling(bits, kTurns, lines);
    ASSERT_EQ(lines.size(), 256U * 64U);
    // Quarters of a line lie in places that its number changes (the swizzle of 64 bytes).
    const auto at = [&](size_t line, size_t byte) {
      return lines[line * 64 + ((byte / 16) ^ (line / 2 % 4)) * 16 + byte % 16];
    };
    int64_t wanted = 0;
    for (size_t pixel = 0; pixel < 128; ++pixel) {
      for (size_t output = 128; output < 256; ++output) {
        for (size_t b = 0; b < 64; ++b) {
          const unsigned x = at(pixel, b), w = at(output, b);
          wanted +=
              bits ? __builtin_popcount(x & w) : static_cast<int>(x) * static_cast<signed char>(w);
        }
      }
    }
    const int64_t sum = std::accumulate(sums.begin(), sums.end(), int64_t{0});
    EXPECT_EQ(sum, kTurns * wanted) << (bits ? "bits" : "bytes");
    EXPECT_NE(wanted, 0);
  }
}

TEST(CudaConvTilesTest, BitsAreMultipliedAsBitsOnlyWhereTheChipDoes) {
  ConvShape bits, codes, grouped, wide_weights;
  bits.channels = bits.outputs = codes.outputs = wide_weights.outputs = 64;
  codes.bits_in = false;
  grouped.groups = 2;
  grouped.channels = grouped.outputs = 64;
  wide_weights.weight_bits = 4;
  for (const int capability : {80, 86, 89, 90}) {
    EXPECT_EQ(CudaConvTiles(capability)(bits).tensor, ConvTensor::kBits) << capability;
    EXPECT_EQ(CudaConvTiles(capability)(wide_weights).tensor, ConvTensor::kBytes) << capability;
  }
  for (const int capability : {100, 103, 120}) {
    EXPECT_EQ(CudaConvTiles(capability)(bits).tensor, ConvTensor::kBytes) << capability;
  }
  EXPECT_EQ(CudaConvTiles(90)(codes).tensor, ConvTensor::kBytes);
  EXPECT_EQ(CudaConvTiles(90)(grouped).tensor, ConvTensor::kNone);  // 32 outputs of a group
  grouped.outputs = 128;
  EXPECT_EQ(CudaConvTiles(90)(grouped).tensor, ConvTensor::kBits);
  grouped.channels = 96;  // words that two groups share
  EXPECT_EQ(CudaConvTiles(90)(grouped).tensor, ConvTensor::kNone);
  EXPECT_EQ(CudaConvTiles(75)(bits).tensor, ConvTensor::kNone);
}

TEST(CudaConvTilesTest, TilesAreWideWhereThereIsEnoughToDo) {
  ConvShape shape;
  shape.outputs = 256;
  shape.out_height = shape.out_width = 14;
  EXPECT_EQ(CudaConvTiles(80)(shape).pixels, 32);
  shape.rows = 64;  // 98 tiles of 128 pixels, 4 blocks of outputs
  EXPECT_EQ(CudaConvTiles(80)(shape).pixels, 128);
}

TEST(CudaConvTilesTest, WideTilesAreProductsOfGroupsOnHopperAlone) {
  ConvShape shape;
  shape.channels = shape.outputs = 256;
  shape.out_height = shape.out_width = 14;
  EXPECT_FALSE(CudaConvTiles(90)(shape).by_group);  // a row alone
  shape.rows = 64;
  for (const int capability : {80, 86, 89, 100, 120}) {
    EXPECT_FALSE(CudaConvTiles(capability)(shape).by_group) << capability;
  }
  EXPECT_TRUE(CudaConvTiles(90)(shape).by_group);
  EXPECT_EQ(CudaConvTiles(90)(shape).outputs, 64);  // 196 tiles of 128 would leave some idle
  shape.rows = 128;
  EXPECT_EQ(CudaConvTiles(90)(shape).outputs, 128);
  shape.outputs = 192;  // the last of two tiles would be half empty
  EXPECT_EQ(CudaConvTiles(90)(shape).outputs, 64);
}

class TilePlanGoldenTest : public testing::TestWithParam<GoldenModel> {};

TEST_P(TilePlanGoldenTest, GivesTheBitsOfTheCpuBackend) {
  constexpr size_t kRows = 2;
  const auto graph = ReadGoldenGraph(GetParam());
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto golden = ReadGoldenRows(GetParam());
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto cpu = CreateCpuBackend()->Compile(*graph, {.max_rows = kRows});
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  const auto lowered = Lower(*graph);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  const auto rows = absl::MakeConstSpan(golden->inputs).first(kRows);
  const auto wanted = RunRows(**cpu, rows, (*cpu)->max_rows());
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  for (const int capability : {90, 100}) {
    auto plan = BuildDevicePlan(*lowered, (*cpu)->max_rows(), CudaConvTiles(capability));
    ASSERT_TRUE(plan.ok()) << plan.status();
    const bool exact = plan->exact;
    const auto host = MakeHostExecutable((*cpu)->signature(), *std::move(plan));
    const auto got = RunRows(*host, rows, (*cpu)->max_rows());
    ASSERT_TRUE(got.ok()) << got.status();
    for (size_t r = 0; r < kRows; ++r) {
      if (exact) {
        ASSERT_EQ(got->at(r), wanted->at(r)) << host->DescribePlan();
      } else {
        ASSERT_LE(LargestGap(got->at(r), wanted->at(r)), golden->tolerance) << host->DescribePlan();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TilePlanGoldenTest, testing::ValuesIn(FindGoldenModels()),
                         [](const testing::TestParamInfo<GoldenModel>& param) {
                           return param.param.name;
                         });

}  // namespace
}  // namespace bitmill
