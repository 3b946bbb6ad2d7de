// What a model's configuration says becomes a divided executable, or a whole one where that is said
// or nothing else is possible.
#include "backends/parallel/parallel_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "backends/cpu/cpu_backend.h"
#include "base/clock.h"
#include "base/file.h"
#include "model/onnx/onnx_reader.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/parallel/dividing.h"
#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

using testing::HasSubstr;
using testing::Not;

// A device that computes as the CPU does, and counts what it is given.
class CountingDevice final : public Backend {
 public:
  explicit CountingDevice(const Backend& cpu, int& compiled) : cpu_(cpu), compiled_(compiled) {}
  std::string name() const override { return "opencl"; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    return cpu_.Prepare(graph, options);
  }
  absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(
      const Graph& lowered, const Executable& cpu, double /*tune_seconds*/) const override {
    ++compiled_;
    auto prepared = cpu_.PrepareLowered(lowered, {});
    if (!prepared.ok()) return prepared.status();
    return (*prepared)->MakeExecutable({cpu.max_rows(), 1});
  }

 private:
  const Backend& cpu_;
  int& compiled_;
};

class ParallelBackendTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path =
        std::string(BITMILL_SOURCE_DIR) + "/models/repository/digits_w1a1/1/model.onnx";
    const auto bytes = ReadFile(path);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    auto graph = ReadOnnx(*bytes, path);
    ASSERT_TRUE(graph.ok()) << graph.status();
    graph_ = *std::move(graph);
    const auto whole = CreateCpuBackend()->Compile(graph_, {.max_rows = 8});
    ASSERT_TRUE(whole.ok()) << whole.status();
    std::mt19937 random(3);
    rows_ = NormalRows((*whole)->signature(), 8, random);
    const auto wanted = RunRows(**whole, rows_, 8);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    wanted_ = *wanted;
  }

  std::unique_ptr<Backend> NewBackend(ForkJoin* team) {
    auto set = std::make_unique<BackendSet>(CreateCpuBackend(team));
    set->Add("opencl", [&cpu = set->first(), this]() -> absl::StatusOr<std::unique_ptr<Backend>> {
      return std::make_unique<CountingDevice>(cpu, compiled_);
    });
    set->Add("gone", []() -> absl::StatusOr<std::unique_ptr<Backend>> {
      return absl::NotFoundError("no such device");
    });
    return CreateParallelBackend(std::move(set), team, {.measure_ns = 5'000'000}, clock_);
  }

  absl::StatusOr<std::unique_ptr<Executable>> Compile(const std::string& parallel, ForkJoin* team) {
    backend_ = NewBackend(team);
    CompileOptions options;
    options.max_rows = 8;
    options.parallel = parallel;
    return backend_->Compile(graph_, options);
  }

  void ExpectSameAnswers(const Executable& executable) {
    for (const int64_t batch : {8, 3, 1}) {
      const auto got = RunRows(executable, rows_, batch);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(*got == wanted_, true) << executable.DescribePlan();
    }
  }

  SystemClock clock_;
  ThreadTeam team_{2};
  Graph graph_;
  std::vector<RowBytes> rows_, wanted_;
  std::unique_ptr<Backend> backend_;
  int compiled_ = 0;
};

TEST_F(ParallelBackendTest, OffIsTheSetsModel) {
  for (const char* how : {"", "off"}) {
    const auto executable = Compile(how, &team_);
    ASSERT_TRUE(executable.ok()) << executable.status();
    EXPECT_THAT((*executable)->DescribePlan(), Not(HasSubstr("parts")));
    ExpectSameAnswers(**executable);
  }
}

TEST_F(ParallelBackendTest, EachModeSaysWhatItMadeOfTheModel) {
  const std::pair<const char*, const char*> cases[] = {
      {"data:2", "data in 2 parts: rows over 2 executables"},
      {"tensor:2", "tensor in 2 parts"},
      {"pipeline:2", "pipeline in 2 parts: 2 stages, each a batch ahead of the next"}};
  for (const auto& [how, said] : cases) {
    const auto executable = Compile(how, &team_);
    ASSERT_TRUE(executable.ok()) << executable.status();
    EXPECT_THAT((*executable)->DescribePlan(), HasSubstr(said));
    EXPECT_EQ((*executable)->backend_name(), "cpu");
    EXPECT_GT((*executable)->weight_bytes(), 0);
    EXPECT_GT((*executable)->row_macs(), 0);
    ExpectSameAnswers(**executable);
  }
}

TEST_F(ParallelBackendTest, NamedBackendsComputeTheirParts) {
  for (const char* how : {"data:cpu,opencl", "tensor:cpu,opencl", "pipeline:cpu,opencl"}) {
    compiled_ = 0;
    const auto executable = Compile(how, &team_);
    ASSERT_TRUE(executable.ok()) << how << ": " << executable.status();
    EXPECT_GE(compiled_, 1) << how;
    ExpectSameAnswers(**executable);
  }
}

TEST_F(ParallelBackendTest, AutoGivesTheSameAnswersWhateverItChooses) {
  const auto shared = Compile("auto", &team_);
  ASSERT_TRUE(shared.ok()) << shared.status();
  ExpectSameAnswers(**shared);
  const auto alone = Compile("auto", nullptr);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_THAT((*alone)->DescribePlan(), Not(HasSubstr("parts"))) << "there is nothing to gain";
  ExpectSameAnswers(**alone);
}

TEST_F(ParallelBackendTest, WhatCannotBeHadIsAnErrorThatSaysSo) {
  const auto gone = Compile("pipeline:cpu,gone", &team_);
  EXPECT_TRUE(absl::IsFailedPrecondition(gone.status()));
  EXPECT_THAT(std::string(gone.status().message()), HasSubstr("no such device"));
  const auto unknown = Compile("data:cpu,abacus", &team_);
  EXPECT_TRUE(absl::IsInvalidArgument(unknown.status()));
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("'abacus'"));
  EXPECT_TRUE(absl::IsInvalidArgument(Compile("data:cpu,auto", &team_).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Compile("rows:2", &team_).status()));
}

TEST_F(ParallelBackendTest, ModelWithoutBatchesIsNotDividedByRows) {
  graph_.batchable = false;
  const auto executable = Compile("data:2", &team_);
  ASSERT_TRUE(executable.ok()) << executable.status();
  EXPECT_THAT((*executable)->DescribePlan(), Not(HasSubstr("data in")));
  EXPECT_EQ((*executable)->max_rows(), 1);
}

}  // namespace
}  // namespace bitmill
