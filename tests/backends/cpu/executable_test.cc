#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/profile.h"
#include "base/file.h"
#include "kernels/isa.h"
#include "model/onnx/onnx_reader.h"
#include "model/passes/passes.h"
#include "model/verify.h"
#include "tests/backends/cpu/allocation_hook.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

Graph ReadRepositoryModel(const std::string& name) {
  const std::string path =
      absl::StrCat(BITMILL_SOURCE_DIR, "/models/repository/", name, "/1/model.onnx");
  const auto bytes = ReadFile(path);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  auto graph = ReadOnnx(*bytes, path);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

std::unique_ptr<Executable> Compile(const Graph& graph, int64_t max_rows) {
  auto executable = CreateCpuBackend()->Compile(graph, {.max_rows = max_rows});
  EXPECT_TRUE(executable.ok()) << executable.status();
  return *std::move(executable);
}

Graph IdentityGraph(int64_t width) {
  Graph graph;
  graph.name = "identity";
  graph.opset = 13;
  graph.batchable = true;
  Value value;
  value.name = "x";
  value.dtype = DType::kFloat32;
  value.shape = {1, width};
  const ValueId input = graph.AddValue(value);
  value.name = "y";
  const ValueId output = graph.AddValue(value);
  Node node;
  node.op = "Identity";
  node.inputs = {input};
  node.outputs = {output};
  graph.nodes.push_back(node);
  graph.inputs.push_back({input, "x", DType::kFloat32, {-1, width}});
  graph.outputs.push_back({output, "y", DType::kFloat32, {-1, width}});
  return graph;
}

RowBytes FloatRow(const std::vector<float>& values) {
  const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
  return {{bytes, bytes + values.size() * sizeof(float)}};
}

// A plan file of some hundred bytes can ask for gigabytes.
TEST(CpuBackendTest, WorkingMemoryIsBounded) {
  const Graph graph = ReadRepositoryModel("digits_w1a1");
  const int64_t bytes = Compile(graph, 1)->arena_bytes();
  for (const double tune_seconds : {0.0, 1e-3}) {
    CompileOptions options{.tune_seconds = tune_seconds, .working_bytes = bytes - 1};
    const absl::Status status = CreateCpuBackend()->Compile(graph, options).status();
    EXPECT_TRUE(absl::IsResourceExhausted(status));
    EXPECT_THAT(std::string(status.message()),
                testing::AllOf(HasSubstr(absl::StrCat("needs ", bytes, " bytes")),
                               HasSubstr(absl::StrCat("at most ", bytes - 1))));
    options.tune_seconds = 0.0;
    options.working_bytes = bytes;
    EXPECT_TRUE(CreateCpuBackend()->Compile(graph, options).ok());
  }
}

TEST(CpuBackendTest, UnknownInstructionSetIsRefusedWithTheChoice) {
  const auto executable = CreateCpuBackend()->Compile(IdentityGraph(4), {.isa = "mmx"});
  ASSERT_EQ(executable.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(executable.status().message()), HasSubstr("'mmx'"));
  EXPECT_THAT(std::string(executable.status().message()), HasSubstr("ref"));
}

TEST(CpuBackendTest, InstructionSetOfAnotherMachineIsRefused) {
#if defined(__x86_64__)
  const char* const foreign = "neon";
#else
  const char* const foreign = "avx2";
#endif
  EXPECT_EQ(CreateCpuBackend()->Compile(IdentityGraph(4), {.isa = foreign}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CpuBackendTest, SignatureLeavesOutTheBatchDimension) {
  const auto executable = Compile(IdentityGraph(1024), 8);
  const Signature& signature = executable->signature();
  ASSERT_EQ(signature.inputs.size(), 1U);
  EXPECT_TRUE(signature.batchable);
  EXPECT_EQ(signature.inputs[0].row_shape, std::vector<int64_t>{1024});
  EXPECT_EQ(signature.inputs[0].row_bytes, 4096);
  EXPECT_EQ(executable->max_rows(), 8);
}

TEST(CpuBackendTest, ModelWithoutBatchDimensionRunsOneRow) {
  Graph graph = IdentityGraph(4);
  graph.batchable = false;
  const auto executable = Compile(graph, 8);
  EXPECT_EQ(executable->max_rows(), 1);
  EXPECT_EQ(executable->signature().inputs[0].row_shape, (std::vector<int64_t>{1, 4}));
}

TEST(CpuBackendTest, IdentityCopiesRowsAsTheyAre) {
  const auto executable = Compile(IdentityGraph(5), 4);
  std::vector<RowBytes> rows;
  for (int r = 0; r < 4; ++r) {
    rows.push_back(FloatRow({static_cast<float>(r), -0.0F, std::nanf(""), 1e30F, -1.0F}));
  }
  for (const size_t alignment : {1, 2, 4, 64}) {
    const auto actual = RunRows(*executable, rows, 3, alignment);
    ASSERT_TRUE(actual.ok()) << actual.status();
    EXPECT_EQ(*actual, rows);
  }
}

TEST(CpuExecutableTest, RowsOutsideTheBatchLimitAreRefused) {
  const auto executable = Compile(IdentityGraph(4), 2);
  const auto context = executable->CreateContext();
  std::vector<std::byte> in(16), out(16);
  const std::vector<const std::byte*> input_rows(3, in.data());
  const std::vector<std::byte*> output_rows(3, out.data());
  const std::vector<const std::byte* const*> inputs = {input_rows.data()};
  const std::vector<std::byte* const*> outputs = {output_rows.data()};
  for (const int64_t rows : {0, -1, 3}) {
    const absl::Status status = executable->Run({rows, inputs, outputs}, *context);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("1 to 2"));
  }
  EXPECT_EQ(executable->Run({2, inputs, {}}, *context).code(), absl::StatusCode::kInternal);
}

// Runs `batches` batches of `rows` rows and returns what the thread allocated meanwhile.
int64_t AllocationsOfRun(const Executable& executable, int64_t rows, int batches) {
  const Signature& signature = executable.signature();
  std::vector<std::byte> in(static_cast<size_t>(signature.inputs[0].row_bytes));
  std::vector<std::byte> out(static_cast<size_t>(signature.outputs[0].row_bytes));
  const std::vector<const std::byte*> input_rows(static_cast<size_t>(rows), in.data());
  const std::vector<std::byte*> output_rows(static_cast<size_t>(rows), out.data());
  const std::vector<const std::byte* const*> inputs = {input_rows.data()};
  const std::vector<std::byte* const*> outputs = {output_rows.data()};
  const auto context = executable.CreateContext();
  EXPECT_TRUE(executable.Run({rows, inputs, outputs}, *context).ok());  // warm-up
  const int64_t before = ThreadAllocations();
  for (int i = 0; i < batches; ++i) {
    EXPECT_TRUE(executable.Run({rows, inputs, outputs}, *context).ok());
  }
  return ThreadAllocations() - before;
}

TEST(CpuExecutableTest, RunAllocatesNothingForIntegerModels) {
  if (!CountsAllocations()) GTEST_SKIP() << "a sanitizer owns the allocator";
  for (const char* const name :
       {"fmnist_tfc_w1a1", "fmnist_wide_w1a1", "fmnist_wide_ternary_w158a8", "digits_w1a1"}) {
    const auto executable = Compile(ReadRepositoryModel(name), 17);
    EXPECT_EQ(AllocationsOfRun(*executable, 17, 3), 0) << name;
    EXPECT_EQ(AllocationsOfRun(*executable, 1, 3), 0) << name;
  }
}

TEST(CpuExecutableTest, RunAllocatesNothingForDepthwiseLayers) {
  if (!CountsAllocations()) GTEST_SKIP() << "a sanitizer owns the allocator";
  std::mt19937 random(3);
  using Epilogue = LowBitConvOp::Epilogue;
  for (const Epilogue epilogue : {Epilogue::kFloat, Epilogue::kThresholds}) {
    Graph graph;
    do {
      LoweredKind kind{.channels = 96};
      kind.epilogue = epilogue;
      kind.depthwise = true;
      graph = RandomLowered(kind, random);
    } while (graph.outputs.size() != 1);
    const auto executable = CompileLowered(graph, "auto", 5);
    ASSERT_TRUE(executable.ok()) << executable.status();
    EXPECT_THAT((*executable)->DescribePlan(), HasSubstr("bdepth_"));
    EXPECT_EQ(AllocationsOfRun(**executable, 5, 3), 0);
  }
}

TEST(CpuExecutableTest, OnlyTheFloatLibraryAllocatesForFloatModels) {
  if (!CountsAllocations()) GTEST_SKIP() << "a sanitizer owns the allocator";
  const auto executable = Compile(ReadRepositoryModel("fmnist_wide_fp32"), 1);
  const int64_t allocations = AllocationsOfRun(*executable, 1, 10) / 10;
  std::printf("fmnist_wide_fp32: %lld allocations a row inside the float library\n",
              static_cast<long long>(allocations));
  constexpr int64_t kLayers = 5, kReorders = 2, kMapsAnExecution = 12;
  EXPECT_LE(allocations, kLayers * (1 + kReorders) * kMapsAnExecution);
}

TEST(CpuExecutableTest, PackedWeightsTakeABitEachAndTwoWhereAKernelRearrangesThem) {
  const Graph graph = ReadRepositoryModel("fmnist_tfc_w1a1");
  const auto executable = Compile(graph, 1);
  // 784*64 + 64*64 + 64*64 + 64*10 weights of one bit, and tables of a few kilobytes. Beside them
  // AVX2's lookup keeps them in twice the bytes.
  const bool looks_up = BestIsa() == Isa::kAvx2 || BestIsa() == Isa::kAvxVnni;
  const int64_t bits = looks_up ? 3 : 1;
  EXPECT_GE(executable->weight_bytes(), (784 * 64 + 2 * 64 * 64 + 64 * 10) / 8);
  EXPECT_LE(executable->weight_bytes(), bits * (784 * 64 + 2 * 64 * 64 + 64 * 16) / 8 + 8192);
  EXPECT_EQ(executable->row_macs(), 784 * 64 + 2 * 64 * 64 + 64 * 10);
}

TEST(CpuExecutableTest, NanInTheInputHasADefinedResult) {
  const auto executable = Compile(ReadRepositoryModel("fmnist_wide_w1a1"), 1);
  std::vector<float> values(28 * 28, 100.0F);
  values[5] = std::numeric_limits<float>::quiet_NaN();
  const auto with_nan = RunRows(*executable, std::vector<RowBytes>{FloatRow(values)}, 1);
  values[5] = -std::numeric_limits<float>::infinity();  // code 0, as NaN is
  const auto with_lowest = RunRows(*executable, std::vector<RowBytes>{FloatRow(values)}, 1);
  ASSERT_TRUE(with_nan.ok() && with_lowest.ok());
  EXPECT_EQ(*with_nan, *with_lowest);
}

TEST(CpuExecutableTest, ThreadsShareAModel) {
  const auto executable = Compile(ReadRepositoryModel("fmnist_wide_w1a1"), 7);
  std::vector<RowBytes> rows;
  for (int r = 0; r < 21; ++r) {
    std::vector<float> values(28 * 28);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>((i * 7 + static_cast<size_t>(r) * 31) % 256);
    }
    rows.push_back(FloatRow(values));
  }
  const auto expected = RunRows(*executable, rows, 1);
  ASSERT_TRUE(expected.ok()) << expected.status();
  std::vector<std::thread> threads;
  std::vector<int> same(4, 0);
  for (size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&, t] {
      const auto actual = RunRows(*executable, rows, static_cast<int64_t>(t) * 2 + 1);
      same[t] = actual.ok() && *actual == *expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 1));
}

TEST(CpuExecutableTest, PlanNamesStepsKernelsAndTotals) {
  const auto executable = Compile(ReadRepositoryModel("fmnist_tfc_w1a1"), 4);
  const std::string plan = executable->DescribePlan();
  EXPECT_THAT(plan, HasSubstr("bconv_"));
  EXPECT_THAT(plan, HasSubstr("1x1 -> 1"));
  EXPECT_THAT(plan, HasSubstr("MACs a row"));
  EXPECT_THAT(plan, HasSubstr("arena"));
  std::printf("%s", plan.c_str());
}

TEST(ProfileTest, GivesACostForEachStep) {
  const auto executable = Compile(ReadRepositoryModel("fmnist_wide_w1a1"), 4);
  const auto costs = ProfileSteps(*executable, 4, 5);
  ASSERT_TRUE(costs.ok()) << costs.status();
  int64_t macs = 0;
  for (const StepCost& cost : *costs) {
    EXPECT_GE(cost.micros, 0.0);
    EXPECT_FALSE(cost.kernel.empty());
    macs += cost.macs;
  }
  EXPECT_EQ(macs, executable->row_macs());
  EXPECT_EQ(ProfileSteps(*executable, 5, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace bitmill
