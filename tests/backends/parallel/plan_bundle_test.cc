// Plan files of models that several executables compute: the same answers with and without, each
// way of computing has its own, and whatever does not fit is compiled again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "backends/auto_backend.h"
#include "backends/bundle_path.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/plan_file.h"
#include "backends/parallel/parallel_backend.h"
#include "backends/plan_cache.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "model/onnx/onnx_reader.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/parallel/dividing.h"
#include "tests/fakes/other_cpu.h"
#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class PlanBundleTest : public testing::Test {
 protected:
  PlanBundleTest() {
    std::string name = testing::TempDir() + "/bitmill_bundle_XXXXXX";
    folder_ = fs::canonical(mkdtemp(name.data()));
    cache_.min_compile_ms = 0;
    request_.file = folder_ / "model.onnx";
    request_.plan_folder = folder_;
    request_.options.max_rows = 8;
    request_.limits = [this](const Signature&) {
      return ExecutionLimits{request_.options.max_rows, 0};
    };
    request_.read = [this](CompileOptions&) -> absl::StatusOr<CompileRequest::Model> {
      const auto bytes = ReadFile(request_.file);
      if (!bytes.ok()) return bytes.status();
      auto graph = ReadOnnx(*bytes, request_.file);
      if (!graph.ok()) return graph.status();
      return CompileRequest::Model{*std::move(graph), HashBytes(bytes->data(), bytes->size())};
    };
    Take("fmnist_wide_w1a1");
    auto set = std::make_unique<BackendSet>(CreateCpuBackend(&team_));
    set->Add("opencl", []() -> absl::StatusOr<std::unique_ptr<Backend>> {
      return std::make_unique<OtherCpu>();
    });
    set->Add("auto", [&cpu = set->first(), this]() -> absl::StatusOr<std::unique_ptr<Backend>> {
      return CreateAutoBackend(cpu, {&device_}, {.measure_ns = 1'000'000}, clock_);
    });
    backend_ = CreateParallelBackend(std::move(set), &team_, {.measure_ns = 5'000'000}, clock_);
  }
  ~PlanBundleTest() override { fs::remove_all(folder_); }

  void Take(const std::string& model) {
    fs::copy_file(fs::path(BITMILL_SOURCE_DIR) / "models/repository" / model / "1/model.onnx",
                  request_.file, fs::copy_options::overwrite_existing);
  }

  // "auto", or a way of dividing.
  CompiledModel Compile(const std::string& way) {
    request_.options.backend = way == "auto" ? "auto" : "cpu";
    request_.options.parallel = way == "auto" ? "" : way == "any" ? "auto" : way;
    auto model = CompileThroughCache(*backend_, cache_, request_);
    EXPECT_TRUE(model.ok()) << way << ": " << model.status();
    return model.ok() ? *std::move(model) : CompiledModel{};
  }

  std::vector<RowBytes> Answers(const Executable& executable) {
    std::mt19937 random(3);
    const auto rows = NormalRows(executable.signature(), 8, random);
    std::vector<RowBytes> all;
    for (const int64_t batch : {int64_t{1}, int64_t{3}, executable.max_rows()}) {
      auto got = RunRows(executable, rows, batch);
      EXPECT_TRUE(got.ok()) << got.status();
      if (got.ok()) all.insert(all.end(), got->begin(), got->end());
    }
    return all;
  }

  std::vector<std::string> Plans() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().extension() == ".plan") names.push_back(entry.path().filename());
    }
    return names;
  }

  const SystemClock clock_;
  ThreadTeam team_{2};
  const OtherCpu device_;
  fs::path folder_;
  PlanCacheOptions cache_;
  CompileRequest request_;
  std::unique_ptr<Backend> backend_;
};

constexpr const char* kWays[] = {"auto",
                                 "data:2",
                                 "tensor:2",
                                 "pipeline:2",
                                 "tensor:3",
                                 "pipeline:3",
                                 "pipeline:cpu,opencl",
                                 "data:cpu,opencl"};

TEST_F(PlanBundleTest, SecondLoadIsFromThePlanAndAnswersTheSame) {
  const std::unique_ptr<Executable> whole = Compile("off").executable;
  const auto wanted = Answers(*whole);
  for (const char* way : kWays) {
    const CompiledModel first = Compile(way), second = Compile(way);
    EXPECT_FALSE(first.from_cache) << way;
    EXPECT_TRUE(second.from_cache) << way << ": " << second.origin;
    EXPECT_EQ(Answers(*first.executable) == wanted, true) << way;
    EXPECT_EQ(Answers(*second.executable) == wanted, true) << way;
    EXPECT_EQ(second.executable->weight_bytes(), first.executable->weight_bytes()) << way;
    EXPECT_EQ(second.executable->backend_name(), first.executable->backend_name()) << way;
    EXPECT_EQ(second.executable->division().parts.size(), first.executable->division().parts.size())
        << way;
  }
  EXPECT_THAT(Plans(),
              UnorderedElementsAre("model.plan", "model.auto.plan", "model.data-2.plan",
                                   "model.tensor-2.plan", "model.pipeline-2.plan",
                                   "model.tensor-3.plan", "model.pipeline-3.plan",
                                   "model.pipeline-cpu-opencl.plan", "model.data-cpu-opencl.plan"));
}

TEST_F(PlanBundleTest, WhatAutoChoseIsNotMeasuredAgain) {
  const CompiledModel first = Compile("any"), second = Compile("any");
  EXPECT_TRUE(second.from_cache) << second.origin;
  EXPECT_EQ(second.executable->division().mode, first.executable->division().mode);
  EXPECT_EQ(Answers(*second.executable) == Answers(*first.executable), true);
}

TEST_F(PlanBundleTest, StagesAreCutWhereTheyWere) {
  const auto macs = [](const Executable& executable) {
    std::vector<int64_t> all;
    for (const ModelPart& part : executable.division().parts) all.push_back(part.row_macs);
    return all;
  };
  const auto first = macs(*Compile("pipeline:3").executable);
  ASSERT_EQ(first.size(), 3U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(macs(*Compile("pipeline:3").executable), first);
}

TEST_F(PlanBundleTest, AnotherModelIsCompiledAndThenKept) {
  for (const char* way : {"auto", "pipeline:2"}) {
    Take("fmnist_wide_w1a1");
    Compile(way);
    Take("digits_w1a1");
    EXPECT_FALSE(Compile(way).from_cache) << way;
    const CompiledModel again = Compile(way);
    EXPECT_TRUE(again.from_cache) << way;
    EXPECT_EQ(Answers(*again.executable) == Answers(*Compile("off").executable), true) << way;
  }
}

TEST_F(PlanBundleTest, OtherLimitsAreDividedAnewFromThePlan) {
  const auto wanted = Answers(*Compile("off").executable);
  Compile("pipeline:2");
  request_.options.max_rows = 4;
  const CompiledModel smaller = Compile("pipeline:2");
  EXPECT_TRUE(smaller.from_cache) << "the graph is the same";
  EXPECT_EQ(smaller.executable->max_rows(), 4);
  request_.options.max_rows = 8;
  EXPECT_EQ(Answers(*Compile("pipeline:2").executable) == wanted, true);
}

TEST_F(PlanBundleTest, APlanOfAnotherWayIsNotTaken) {
  Compile("tensor:2");
  fs::copy_file(folder_ / "model.tensor-2.plan", folder_ / "model.data-2.plan");
  fs::copy_file(folder_ / "model.tensor-2.plan", folder_ / "model.auto.plan");
  EXPECT_FALSE(Compile("data:2").from_cache);
  EXPECT_FALSE(Compile("auto").from_cache);
  CompileOptions options = request_.options;
  options.parallel = "data:2";
  fs::copy_file(folder_ / "model.tensor-2.plan", folder_ / "model.data-2.plan",
                fs::copy_options::overwrite_existing);
  const auto opened = backend_->OpenPlan(folder_ / "model.plan", 0, options);
  EXPECT_TRUE(absl::IsFailedPrecondition(opened.status()));
  EXPECT_THAT(std::string(opened.status().message()),
              HasSubstr("is for another way of computing: 'parallel tensor:2 on cpu', this is "
                        "'parallel data:2 on cpu'"));
}

TEST_F(PlanBundleTest, DamageIsFoundWhereverItIsAndCompiledAway) {
  for (const char* way : {"auto", "pipeline:2"}) {
    const auto wanted = Answers(*Compile(way).executable);
    const fs::path plan = BundlePath((folder_ / "model.plan").string(), way);
    const std::string good = *ReadFile(plan);
    std::mt19937 random(11);
    for (int i = 0; i < 12; ++i) {
      std::string bad = good;
      if (i == 0) {
        bad.resize(good.size() / 2);
      } else {
        // In padding between parts nothing is lost.
        bad[random() % bad.size()] ^= 0x20;
      }
      std::ofstream(plan, std::ios::binary) << bad;
      const CompiledModel model = Compile(way);
      ASSERT_NE(model.executable, nullptr);
      EXPECT_EQ(Answers(*model.executable) == wanted, true) << way << " " << i;
    }
    EXPECT_TRUE(Compile(way).from_cache);
  }
}

// As somebody would who can compute hashes: nothing leads out of the file, and what cannot be is
// compiled away.
TEST_F(PlanBundleTest, APlanWhoseHashesAreRightAndThatLiesIsAStatusOrAModelThatRuns) {
  Compile("pipeline:3");
  const fs::path plan = folder_ / "model.pipeline-3.plan";
  std::map<PlanPart, std::string> good;
  {
    const auto file = PlanFile::Open(plan, geteuid());
    ASSERT_TRUE(file.ok()) << file.status();
    for (const PlanPart part : {PlanPart::kKey, PlanPart::kSource, PlanPart::kModel,
                                PlanPart::kParts, PlanPart::kBlobs}) {
      const auto bytes = file->Part(part);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      good[part] = std::string(*bytes);
    }
  }
  std::mt19937 random(5);
  int refused = 0;
  for (int i = 0; i < 60; ++i) {
    std::map<PlanPart, std::string> bad = good;
    std::string& parts = bad[PlanPart::kParts];
    // The notes, of some thirty bytes, come first.
    const size_t place = random() % (i % 2 == 0 ? 40 : parts.size());
    parts[place] = static_cast<char>(i % 3 == 0 ? random() : parts[place] ^ 1);
    std::vector<PlanPartContents> contents;
    for (const auto& [part, bytes] : bad) contents.push_back({part, {bytes}});
    ASSERT_TRUE(WritePlanFile(plan, contents).ok());
    const CompiledModel model = Compile("pipeline:3");
    ASSERT_NE(model.executable, nullptr);
    EXPECT_EQ(Answers(*model.executable).size(), 24U);
    if (!model.from_cache) ++refused;
  }
  EXPECT_GT(refused, 10);
}

TEST_F(PlanBundleTest, WeightsOfRowsThatAreDividedAreHeldOnce) {
  const auto whole = Compile("off").executable;
  for (int i = 0; i < 2; ++i) {  // compiled, and from the plan
    const auto divided = Compile("data:2").executable;
    EXPECT_EQ(divided->weight_bytes(), whole->weight_bytes());
    ASSERT_EQ(divided->memory(1).size(), 1U);
    EXPECT_EQ(divided->memory(1).front().bytes, divided->weight_bytes() + divided->arena_bytes());
  }
}

TEST(BundlePathTest, NamesTheWayBeforeTheEnding) {
  EXPECT_EQ(BundlePath("/m/model.plan", "auto"), "/m/model.auto.plan");
  EXPECT_EQ(BundlePath("model.bf16.plan", "pipeline:cpu,opencl"),
            "model.bf16.pipeline-cpu-opencl.plan");
  EXPECT_EQ(BundlePath("x", "../y"), "x.---y.plan");
}

}  // namespace
}  // namespace bitmill
