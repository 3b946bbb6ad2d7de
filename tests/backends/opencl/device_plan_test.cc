// Device plans, run on the host by the kernels themselves (host_kernels.h): random graphs against
// the reference of lowered graphs, and the golden models against the CPU backend.
#include "backends/device/device_plan.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "backends/cpu/cpu_backend.h"
#include "model/passes/passes.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/opencl/differential.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/backends/opencl/host_executable.h"

namespace bitmill {
namespace {

const MakeExecutable kOnTheHost = [](const Graph& graph, DevicePlan plan) {
  return absl::StatusOr<std::unique_ptr<Executable>>(
      MakeHostExecutable(SignatureOfLowered(graph), std::move(plan)));
};

class DevicePlanTest : public testing::TestWithParam<LoweredKind> {};

TEST_P(DevicePlanTest, ConvolutionsAndDenseLayersGiveTheReferencesBits) {
  std::mt19937 random(17);
  for (int i = 0; i < 8; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    LoweredKind kind = GetParam();
    kind.dense = i % 4 == 3;
    kind.depthwise = i % 4 == 2;
    CheckAgainstReference(RandomLowered(kind, random), kOnTheHost, random);
    if (HasFatalFailure()) return;
  }
}

TEST(DevicePlanStepsTest, ConvolutionsGiveTheReferencesBitsHoweverTheyAreCut) {
  std::mt19937 random(29);
  for (const LoweredKind& wanted : AllLoweredKinds()) {
    if (!wanted.bits_in || wanted.weight_bits != 1) continue;
    for (const ConvTile& tile : AllConvTiles()) {
      SCOPED_TRACE(testing::Message() << KindName(wanted) << ", run " << tile.run);
      LoweredKind kind = wanted;
      for (const int64_t channels : {0, 64, 130}) {
        kind.channels = channels;
        kind.dense = channels == 130;
        CheckAgainstReference(RandomLowered(kind, random), kOnTheHost, random,
                              [&](const ConvShape&) { return tile; });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(DevicePlanStepsTest, SlicesGiveTheBitsOfOctets) {
  std::mt19937 random(31);
  CheckSlices(
      [](const Signature& signature, DevicePlan plan) {
        return absl::StatusOr<std::unique_ptr<Executable>>(
            MakeHostExecutable(signature, std::move(plan)));
      },
      24, random);
}

ConvShape Square(int64_t side, int64_t channels, int64_t kernel) {
  ConvShape shape;
  shape.channels = shape.outputs = channels;
  shape.out_height = shape.out_width = side;
  shape.kernel_h = shape.kernel_w = kernel;
  return shape;
}

TEST(ConvTileTest, RunsAreAsLongAsTheirWindowsFitTheItem) {
  struct Case {
    ConvShape shape;
    int64_t longest;
    int32_t chosen;
  };
  ConvShape dilated = Square(14, 64, 3), strided = Square(28, 512, 3);
  dilated.dilation_w = 2;
  strided.stride_w = 2;
  // 256 words: 85 columns of 3, 10 of 24, none of 25 x 16.
  const Case cases[] = {{Square(56, 64, 3), 56, 8},
                        {Square(14, 512, 3), 8, 8},
                        {strided, 4, 4},
                        {dilated, 1, 1},
                        {Square(1, 784, 1), 1, 1},
                        {Square(14, 1024, 5), 0, 0},
                        {Square(14, 16, 3), 14, 0}};
  for (const Case& one : cases) {
    SCOPED_TRACE(one.shape.Text());
    EXPECT_EQ(one.shape.max_run(), one.longest);
    const ConvTile octets;
    const ConvTile blocks = {one.chosen, kBlockGroups[0]};
    EXPECT_TRUE(DefaultConvTile(one.shape).run == one.chosen);
    EXPECT_TRUE(DefaultConvTile(one.shape) == (one.chosen == 0 ? octets : blocks));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, DevicePlanTest, testing::ValuesIn(AllLoweredKinds()),
                         [](const testing::TestParamInfo<LoweredKind>& param) {
                           return KindName(param.param);
                         });

TEST(DevicePlanStepsTest, PoolsGiveTheReferencesBits) {
  std::mt19937 random(5);
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    CheckAgainstReference(RandomPooling(i % 2 == 0, random), kOnTheHost, random);
    if (HasFatalFailure()) return;
  }
}

TEST(DevicePlanStepsTest, FloatLayersGiveTheReferencesBits) {
  std::mt19937 random(6);
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    CheckAgainstReference(RandomFloat(i % 2 == 0, random), kOnTheHost, random);
    if (HasFatalFailure()) return;
  }
}

TEST(DevicePlanStepsTest, ResidualNetworksGiveTheReferencesBits) {
  std::mt19937 random(7);
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    CheckAgainstReference(RandomResidual(random), kOnTheHost, random);
    if (HasFatalFailure()) return;
  }
}

class DevicePlanGoldenTest : public testing::TestWithParam<GoldenModel> {};

TEST_P(DevicePlanGoldenTest, GivesTheBitsOfTheCpuBackend) {
  constexpr size_t kRows = 2;
  const auto graph = ReadGoldenGraph(GetParam());
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto golden = ReadGoldenRows(GetParam());
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto cpu = CreateCpuBackend()->Compile(*graph, {.max_rows = kRows});
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  const auto lowered = Lower(*graph);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  absl::StatusOr<DevicePlan> plan = BuildDevicePlan(*lowered, (*cpu)->max_rows());
  ASSERT_TRUE(plan.ok()) << plan.status();
  const bool exact = plan->exact;
  const auto host = MakeHostExecutable((*cpu)->signature(), *std::move(plan));
  const auto rows = absl::MakeConstSpan(golden->inputs).first(kRows);
  const auto got = RunRows(*host, rows, (*cpu)->max_rows());
  const auto wanted = RunRows(**cpu, rows, (*cpu)->max_rows());
  ASSERT_TRUE(got.ok()) << got.status();
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  for (size_t r = 0; r < kRows; ++r) {
    if (exact) {
      ASSERT_EQ(got->at(r), wanted->at(r)) << host->DescribePlan();
    } else {
      ASSERT_LE(LargestGap(got->at(r), wanted->at(r)), golden->tolerance) << host->DescribePlan();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DevicePlanGoldenTest, testing::ValuesIn(FindGoldenModels()),
                         [](const testing::TestParamInfo<GoldenModel>& param) {
                           return param.param.name;
                         });

TEST(DevicePlanModelsTest, IntegerModelsOfTheRepositoryAreExactAndStayOnTheDevice) {
  int exact = 0;
  for (const GoldenModel& model : FindGoldenModels()) {
    const auto graph = ReadGoldenGraph(model);
    ASSERT_TRUE(graph.ok()) << graph.status();
    const auto lowered = Lower(*graph);
    ASSERT_TRUE(lowered.ok()) << lowered.status();
    const auto plan = BuildDevicePlan(*lowered, 1);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->host_steps(), 0) << model.name;
    if (model.name == "digits_w1a1" || model.name == "fmnist_tfc_w1a1" ||
        model.name == "fmnist_wide_w1a1" || model.name == "fmnist_wide_ternary_w158a8") {
      EXPECT_TRUE(plan->exact) << model.name;
      ++exact;
    }
  }
  EXPECT_EQ(exact, 4);
}

}  // namespace
}  // namespace bitmill
