// Batches that threads share give the bits of one thread, whatever their number and order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "base/file.h"
#include "base/fork_join.h"
#include "model/onnx/onnx_reader.h"
#include "tests/backends/cpu/allocation_hook.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/fakes/thread_team.h"
#include "tests/support/effort.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

constexpr size_t kRows = 9;

std::vector<RowBytes> NormalRows(int64_t elements, std::mt19937& random, float scale = 2.0F) {
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<RowBytes> rows(kRows);
  for (RowBytes& row : rows) {
    std::vector<float> values(static_cast<size_t>(elements));
    for (float& value : values) value = normal(random);
    const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
    row.emplace_back(bytes, bytes + values.size() * sizeof(float));
  }
  return rows;
}

std::vector<RowBytes> RowsFor(const Graph& graph, std::mt19937& random) {
  return NormalRows(ElementCount(graph.value(graph.inputs[0].value).shape), random);
}

class SharedRunTest : public testing::Test {
 protected:
  // With threads that help, and with every slot on this thread in a bad order.
  void Check(const Graph& graph) {
    const std::vector<RowBytes> rows = RowsFor(graph, random_);
    const auto alone = CompileLowered(graph, "auto", kRows);
    ASSERT_TRUE(alone.ok()) << alone.status();
    SCOPED_TRACE((*alone)->DescribePlan());
    const auto want = RunRows(**alone, rows, kRows);
    ASSERT_TRUE(want.ok()) << want.status();
    for (ForkJoin* const team : teams_) {
      const auto shared = CompileShared(graph, "auto", kRows, *team);
      ASSERT_TRUE(shared.ok()) << shared.status();
      for (const int64_t batch : {1, 2, 3, 9}) {
        const auto got = RunRows(**shared, rows, batch, batch == 2 ? 1 : 64);
        ASSERT_TRUE(got.ok()) << got.status();
        ASSERT_EQ(*got == *want, true) << team->width() << " threads, batch " << batch;
      }
    }
  }

  std::mt19937 random_{21};
  ThreadTeam two_{2}, three_{3}, four_{4};
  BackwardTeam backward_{3};
  std::vector<ForkJoin*> teams_ = {&two_, &three_, &four_, &backward_};
};

TEST_F(SharedRunTest, LowBitLayers) {
  for (const bool bits_in : {true, false}) {
    for (const int weight_bits : {1, 2, 4, 8}) {
      for (const Epilogue epilogue :
           {Epilogue::kFloat, Epilogue::kThresholds, Epilogue::kRequantize}) {
        for (const bool dense : {false, true}) {
          LoweredKind kind{.bits_in = bits_in, .weight_bits = weight_bits};
          kind.ternary = weight_bits == 2;
          kind.epilogue = epilogue;
          kind.bits_out = epilogue == Epilogue::kThresholds && random_() % 2 == 0;
          kind.dense = dense;
          // Of millions of weights; how they are shared does not depend on the epilogue.
          if (dense && (!kSlowRun || epilogue == Epilogue::kThresholds)) {
            ASSERT_NO_FATAL_FAILURE(Check(RandomLowered(LargeDense(kind), random_)));
          }
          for (int round = 0; round < Rounds(3); ++round) {
            ASSERT_NO_FATAL_FAILURE(Check(RandomLowered(kind, random_)));
          }
        }
      }
    }
  }
  EXPECT_GT(two_.helped.load() + three_.helped.load() + four_.helped.load(), 0);
  EXPECT_GT(backward_.shared, 0);
}

TEST_F(SharedRunTest, DepthwiseLayers) {
  for (const Epilogue epilogue : {Epilogue::kFloat, Epilogue::kThresholds, Epilogue::kRequantize}) {
    for (int round = 0; round < Rounds(12); ++round) {
      LoweredKind kind{.epilogue = epilogue, .depthwise = true};
      kind.ternary = round % 2 == 0;
      kind.weight_bits = kind.ternary ? 2 : 1;
      kind.bits_out = round % 3 != 0;
      ASSERT_NO_FATAL_FAILURE(Check(RandomLowered(kind, random_)));
    }
  }
}

TEST_F(SharedRunTest, ResidualNetworks) {
  for (int round = 0; round < Rounds(30); ++round) {
    ASSERT_NO_FATAL_FAILURE(Check(RandomResidual(random_)));
  }
}

TEST_F(SharedRunTest, Pooling) {
  for (int round = 0; round < Rounds(40); ++round) {
    ASSERT_NO_FATAL_FAILURE(Check(RandomPooling(round % 2 == 0, random_)));
  }
}

TEST_F(SharedRunTest, FloatLayers) {
  for (int round = 0; round < Rounds(20); ++round) {
    ASSERT_NO_FATAL_FAILURE(Check(RandomFloat(round % 2 == 0, random_)));
  }
}

Graph ReadModel(const std::string& name) {
  const std::string path =
      absl::StrCat(BITMILL_SOURCE_DIR, "/models/repository/", name, "/1/model.onnx");
  auto graph = ReadOnnx(*ReadFile(path), path);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

std::unique_ptr<Executable> Compile(const Graph& graph, int64_t max_rows, int threads,
                                    ForkJoin* team) {
  auto executable =
      CreateCpuBackend(team)->Compile(graph, {.max_rows = max_rows, .threads = threads});
  EXPECT_TRUE(executable.ok()) << executable.status();
  return *std::move(executable);
}

TEST_F(SharedRunTest, ShippedModels) {
  for (const char* const name :
       {"fmnist_wide_w1a1", "fmnist_wide_ternary_w158a8", "fmnist_wide_fp32", "digits_w1a1"}) {
    const Graph graph = ReadModel(name);
    const auto alone = Compile(graph, kRows, 1, nullptr);
    const std::vector<RowBytes> rows =
        NormalRows(alone->signature().inputs[0].row_bytes / 4, random_, 100.0F);
    const auto want = RunRows(*alone, rows, 1);
    ASSERT_TRUE(want.ok()) << want.status();
    for (ForkJoin* const team : teams_) {
      const auto shared = Compile(graph, kRows, 0, team);
      for (const int64_t batch : {1, 3, 9}) {
        const auto got = RunRows(*shared, rows, batch);
        ASSERT_TRUE(got.ok()) << got.status();
        EXPECT_TRUE(*got == *want) << name << ", " << team->width() << " threads, batch " << batch;
      }
    }
  }
}

// Two models whose batches run at the same time and ask the same helpers.
TEST_F(SharedRunTest, ModelsShareOneTeam) {
  const Graph graphs[] = {ReadModel("fmnist_wide_w1a1"), ReadModel("fmnist_wide_ternary_w158a8")};
  std::vector<std::unique_ptr<Executable>> shared;
  std::vector<std::vector<RowBytes>> rows, want;
  for (const Graph& graph : graphs) {
    shared.push_back(Compile(graph, kRows, 0, &three_));
    const auto alone = Compile(graph, kRows, 1, nullptr);
    rows.push_back(NormalRows(alone->signature().inputs[0].row_bytes / 4, random_, 100.0F));
    want.push_back(*RunRows(*alone, rows.back(), 4));
  }
  std::vector<std::thread> callers;
  std::vector<int> same(4, 0);
  for (size_t c = 0; c < same.size(); ++c) {
    callers.emplace_back([&, c] {
      const size_t model = c % 2;
      for (int round = 0; round < 10; ++round) {
        const auto got = RunRows(*shared[model], rows[model], c < 2 ? 1 : 9);
        if (got.ok() && *got == want[model]) ++same[c];
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(same, std::vector<int>(4, 10));
}

TEST_F(SharedRunTest, OneThreadAsksNobody) {
  const Graph graph = ReadModel("fmnist_wide_w1a1");
  const auto executable = Compile(graph, kRows, 1, &two_);
  const auto rows = NormalRows(executable->signature().inputs[0].row_bytes / 4, random_);
  ASSERT_TRUE(RunRows(*executable, rows, kRows).ok());
  EXPECT_EQ(two_.shared.load(), 0);
  EXPECT_EQ(CreateCpuBackend(&two_)->Compile(graph, {.threads = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SharedRunTest, TimedRunsGiveTheSameBitsAndATimeForEachOperation) {
  const Graph graph = ReadModel("fmnist_wide_w1a1");
  for (ForkJoin* const team : {static_cast<ForkJoin*>(nullptr), static_cast<ForkJoin*>(&two_)}) {
    const auto executable = Compile(graph, kRows, 0, team);
    const Signature& signature = executable->signature();
    const std::vector<RowBytes> rows =
        NormalRows(signature.inputs[0].row_bytes / 4, random_, 100.0F);
    std::vector<const std::byte*> in;
    for (const RowBytes& row : rows) in.push_back(row[0].data());
    std::vector<std::vector<std::byte>> plain(
        kRows, std::vector<std::byte>(static_cast<size_t>(signature.outputs[0].row_bytes)));
    auto timed = plain;
    std::vector<std::byte*> plain_rows, timed_rows;
    for (size_t r = 0; r < kRows; ++r) {
      plain_rows.push_back(plain[r].data());
      timed_rows.push_back(timed[r].data());
    }
    const std::byte* const* const inputs[] = {in.data()};
    std::byte* const* const plain_outputs[] = {plain_rows.data()};
    std::byte* const* const timed_outputs[] = {timed_rows.data()};
    const auto context = executable->CreateContext();
    ASSERT_TRUE(executable->Run({int64_t{kRows}, inputs, plain_outputs}, *context).ok());

    const std::vector<Operation> operations = executable->operations();
    int64_t macs = 0;
    for (const Operation& operation : operations) macs += operation.row_macs;
    EXPECT_EQ(macs, executable->row_macs());
    std::vector<int64_t> ns(operations.size());
    OperationTimes times{absl::MakeSpan(ns)};
    ASSERT_TRUE(
        executable->RunTimed({int64_t{kRows}, inputs, timed_outputs}, *context, times).ok());
    EXPECT_TRUE(timed == plain);
    EXPECT_GE(times.rows, team == nullptr ? int64_t{kRows} : 1);
    EXPECT_LE(times.rows, int64_t{kRows});
    EXPECT_GT(*std::max_element(ns.begin(), ns.end()), 0);
  }
}

TEST_F(SharedRunTest, SharingAllocatesNothing) {
  if (!CountsAllocations()) GTEST_SKIP() << "a sanitizer owns the allocator";
  const auto executable = Compile(ReadModel("fmnist_wide_w1a1"), kRows, 0, &two_);
  const Signature& signature = executable->signature();
  std::vector<std::byte> in(static_cast<size_t>(signature.inputs[0].row_bytes));
  std::vector<std::byte> out(static_cast<size_t>(signature.outputs[0].row_bytes));
  const std::vector<const std::byte*> input_rows(kRows, in.data());
  std::vector<std::vector<std::byte>> results(kRows, out);
  std::vector<std::byte*> output_rows;
  for (std::vector<std::byte>& result : results) output_rows.push_back(result.data());
  const std::vector<const std::byte* const*> inputs = {input_rows.data()};
  const std::vector<std::byte* const*> outputs = {output_rows.data()};
  const auto context = executable->CreateContext();
  const int64_t before = ThreadAllocations();
  for (const int64_t rows : {1, 9, 8}) {
    EXPECT_TRUE(executable->Run({rows, inputs, outputs}, *context).ok());
  }
  EXPECT_EQ(ThreadAllocations() - before, 0);
  EXPECT_GT(two_.shared.load(), 0);
}

}  // namespace
}  // namespace bitmill
