// Models through the CUDA backend, with the kernels on the host behind a driver that is made up
// (fake_cuda.cc): plans, launches, copies, graphs and times as on a device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <variant>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/conv_tiles.h"
#include "backends/cuda/cuda_plan_device.h"
#include "backends/device/device_executable.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/cuda/fake_driver.h"
#include "tests/backends/opencl/differential.h"
#include "tests/backends/opencl/golden_models.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

class CudaGoldenTest : public FakeCudaTest, public testing::WithParamInterface<GoldenModel> {};

TEST_P(CudaGoldenTest, DeviceGivesTheBitsOfTheCpuBackend) {
  const std::unique_ptr<Backend> cpu = CreateCpuBackend();
  const auto backend = OpenBackend(*cpu);
  ASSERT_TRUE(backend.ok()) << backend.status();
  CheckGoldenModel(GetParam(), **backend, *cpu);
  EXPECT_GT(fake_->launches, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, CudaGoldenTest, testing::ValuesIn(FindGoldenModels()),
                         [](const testing::TestParamInfo<GoldenModel>& param) {
                           return param.param.name;
                         });

class CudaTest : public FakeCudaTest {
 protected:
  void SetUp() override {
    FakeCudaTest::SetUp();
    if (HasFatalFailure()) return;
    auto golden = ReadGoldenCase("fmnist_tfc_w1a1");
    ASSERT_TRUE(golden.ok()) << golden.status();
    graph_ = std::move(golden->graph);
    rows_ = std::move(golden->rows);
  }
  // The small model on the device alone.
  std::unique_ptr<Executable> Compile(int64_t max_rows) {
    auto backend = OpenBackend(*cpu_);
    EXPECT_TRUE(backend.ok()) << backend.status();
    const auto on_cpu = cpu_->Compile(graph_, {.max_rows = max_rows});
    const auto lowered = Lower(graph_);
    EXPECT_TRUE(on_cpu.ok() && lowered.ok());
    auto executable = (*backend)->CompileBeside(*lowered, **on_cpu, 0.0);
    EXPECT_TRUE(executable.ok()) << executable.status();
    return *std::move(executable);
  }

  const std::unique_ptr<Backend> cpu_ = CreateCpuBackend();
  Graph graph_;
  std::vector<RowBytes> rows_;
};

TEST_F(CudaTest, BatchOfARecordedSizeIsOneGraph) {
  const auto executable = Compile(8);
  for (const int64_t rows : {1, 2, 4, 8}) {
    fake_->graph_launches = 0;
    const int64_t steps = static_cast<int64_t>(executable->operations().size());
    fake_->launches = 0;
    ASSERT_TRUE(RunRows(*executable, absl::MakeConstSpan(rows_).first(8), rows).ok());
    EXPECT_EQ(fake_->graph_launches, 8 / rows) << rows;
    EXPECT_LT(fake_->launches, steps * 8 / rows) << rows;
  }
  EXPECT_THAT(executable->DescribePlan(), HasSubstr("launched at once for 1, 2, 4, 8 rows"));
}

TEST_F(CudaTest, SmallBatchIsPaddedToARecordedSize) {
  const auto executable = Compile(8);
  const auto wanted = RunRows(*executable, rows_, 1);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(executable->computed_rows(5), 8);
  EXPECT_EQ(executable->computed_rows(3), 4);
  fake_->graph_launches = 0;
  const auto got = RunRows(*executable, absl::MakeConstSpan(rows_).first(5), 5);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(fake_->graph_launches, 1);
  for (size_t r = 0; r < 5; ++r) EXPECT_EQ(got->at(r), wanted->at(r)) << r;
}

TEST_F(CudaTest, RandomGraphsGiveTheReferencesBits) {
  auto device = OpenDevice();
  ASSERT_TRUE(device.ok()) << device.status();
  std::mt19937 random(29);
  const MakeExecutable make = [&](const Graph& graph,
                                  DevicePlan plan) -> absl::StatusOr<std::unique_ptr<Executable>> {
    return DeviceExecutable::Create(MakeCudaPlanDevice(*device), SignatureOfLowered(graph),
                                    std::move(plan));
  };
  for (const LoweredKind& kind : AllLoweredKinds()) {
    SCOPED_TRACE(KindName(kind));
    CheckAgainstReference(RandomLowered(kind, random), make, random,
                          CudaConvTiles(fake_->capability));
    if (HasFatalFailure()) return;
    const MakeExecutable make_of_bits =
        [&](const Graph& graph,
            const DevicePlan& plan) -> absl::StatusOr<std::unique_ptr<Executable>> {
      BITMILL_ASSIGN_OR_RETURN(DevicePlan of_bits, BuildDevicePlan(graph, plan.max_rows,
                                                                   CudaConvTiles(fake_->capability),
                                                                   InputQuantizer::kHost));
      return make(graph, std::move(of_bits));
    };
    CheckAgainstReference(RandomLowered(kind, random), make_of_bits, random);
    if (HasFatalFailure()) return;
  }
  for (int i = 0; i < 12; ++i) {
    SCOPED_TRACE(testing::Message() << "graph " << i);
    CheckAgainstReference(RandomPooling(i % 2 == 0, random), make, random);
    CheckAgainstReference(RandomFloat(i % 2 == 0, random), make, random);
    CheckAgainstReference(RandomResidual(random), make, random);
    if (HasFatalFailure()) return;
  }
}

TEST_F(CudaTest, BatchesInSharesOnTwoStreamsGiveTheSameBits) {
  auto device = OpenDevice();
  ASSERT_TRUE(device.ok()) << device.status();
  const auto lowered = Lower(graph_);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  const auto make = [&](int64_t share_rows) {
    return DeviceExecutable::Create(
        MakeCudaPlanDevice(*device), SignatureOfLowered(*lowered),
        *BuildDevicePlan(*lowered, share_rows, CudaConvTiles(fake_->capability)), 13);
  };
  const auto whole = make(13), shared = make(7);
  ASSERT_TRUE(whole.ok() && shared.ok());
  EXPECT_THAT((*shared)->DescribePlan(), HasSubstr("those of more than 7 in 2 streams"));
  EXPECT_EQ((*shared)->computed_rows(12), 14);  // two of 6, each padded to 7
  const auto wanted = RunRows(**whole, absl::MakeConstSpan(rows_).first(13), 13);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  for (const size_t rows : {size_t{1}, size_t{7}, size_t{8}, size_t{11}, size_t{13}}) {
    fake_->graph_launches = 0;
    const auto got =
        RunRows(**shared, absl::MakeConstSpan(rows_).first(rows), static_cast<int64_t>(rows));
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(fake_->graph_launches, rows > 7 ? 2 : 1) << rows;
    for (size_t r = 0; r < rows; ++r) EXPECT_EQ(got->at(r), wanted->at(r)) << rows << ", " << r;
  }
}

TEST_F(CudaTest, BitsAreCopiedWhereOnlyAComparisonOfTheInputIsWanted) {
  const auto lowered = Lower(graph_);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  const QuantizeOp* op = nullptr;  // the first, behind a Flatten
  for (const Node& node : lowered->nodes) {
    if (op == nullptr) op = std::get_if<QuantizeOp>(&node.lowered);
  }
  ASSERT_NE(op, nullptr);
  const auto executable = Compile(1);
  const auto elements = static_cast<size_t>(executable->signature().inputs[0].row_bytes / 4);
  ASSERT_EQ(elements, 784U);
  constexpr size_t kRowBytes = 128;  // 13 words, to a whole place
  EXPECT_THAT(executable->DescribePlan(),
              HasSubstr("the host makes bits of input 0: 104 bytes a row are copied, not 3136"));
  EXPECT_EQ(executable->operations()[0].row_bytes, 104);
  fake_->copied_in = 0;
  ASSERT_TRUE(RunRows(*executable, absl::MakeConstSpan(rows_).first(1), 1).ok());
  EXPECT_EQ(fake_->copied_in, static_cast<int64_t>(kRowBytes));
  std::vector<float> values(elements);
  std::memcpy(values.data(), rows_[0][0].data(), elements * sizeof(float));
  std::vector<uint8_t> wanted(kRowBytes, 0);
  for (size_t i = 0; i < elements; ++i) {
    const size_t which = op->bit_thresholds.size() > 1 ? i : 0;
    const float threshold = op->bit_thresholds.empty() ? 0.0F : op->bit_thresholds[which];
    const bool inverted = !op->bit_invert.empty() && op->bit_invert[which] != 0;
    if ((values[i] >= threshold) == inverted) wanted[i / 8] |= static_cast<uint8_t>(1U << (i % 8));
  }
  EXPECT_THAT(std::vector<uint8_t>(fake_->last_in, fake_->last_in + kRowBytes),
              testing::ElementsAreArray(wanted));
}

TEST_F(CudaTest, ContextsOfOneModelRunAtTheSameTime) {
  const auto executable = Compile(4);
  const auto wanted = RunRows(*executable, rows_, 4);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  constexpr int kThreads = 4;
  std::vector<absl::StatusOr<std::vector<RowBytes>>> got(kThreads, absl::UnknownError("not run"));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back(
        [&, t] { got[static_cast<size_t>(t)] = RunRows(*executable, rows_, t + 1); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& answers : got) {
    ASSERT_TRUE(answers.ok()) << answers.status();
    EXPECT_EQ(*answers, *wanted);
  }
}

// Every command of the fake driver takes 10 us.
TEST_F(CudaTest, EventsTellTheTimeOfEachCommand) {
  const auto executable = Compile(4);
  const std::vector<Operation> operations = executable->operations();
  std::vector<int64_t> ns(operations.size(), 0);
  OperationTimes times{absl::MakeSpan(ns), 0};
  std::vector<std::byte> output(static_cast<size_t>(executable->signature().outputs[0].row_bytes));
  const std::byte* input_row = rows_[0][0].data();
  std::byte* output_row = output.data();
  const std::byte* const* input_port = &input_row;
  std::byte* const* output_port = &output_row;
  const auto context = executable->CreateContext();
  for (int run = 1; run <= 2; ++run) {
    ASSERT_TRUE(executable
                    ->RunTimed({1, absl::MakeConstSpan(&input_port, 1),
                                absl::MakeConstSpan(&output_port, 1)},
                               *context, times)
                    .ok());
    EXPECT_EQ(times.rows, run);
    for (size_t i = 0; i + 2 < ns.size(); ++i) {
      EXPECT_NEAR(static_cast<double>(ns[i]), run * 10'000.0, 10.0) << operations[i].name;
    }
  }
  EXPECT_EQ(operations[ns.size() - 2].name, "device queued");
  EXPECT_GE(ns[ns.size() - 2], 0);
  EXPECT_EQ(ns.back(), 0);
}

}  // namespace
}  // namespace bitmill
