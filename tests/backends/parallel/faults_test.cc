// Parts that fail, helpers that do not come, many batches at a time: batches end, with the right
// answer or with the error of a part, and running them allocates nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "backends/fallback_executable.h"
#include "backends/parallel/data_executable.h"
#include "backends/parallel/staged_executable.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "tests/backends/cpu/allocation_hook.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/parallel/dividing.h"
#include "tests/fakes/fake_executable.h"
#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

constexpr int64_t kMaxRows = 12;
const SystemClock kClock;

std::unique_ptr<FakeExecutable> NewPart() {
  auto part = std::make_unique<FakeExecutable>(IdentitySignature(DType::kFloat32, {1}), kMaxRows);
  part->remember = false;
  return part;
}

std::unique_ptr<RowShares> EqualShares(size_t parts) {
  RouteTable table;
  table.rows = RouteSizes(kMaxRows);
  for (const int64_t rows : table.rows) table.ns.push_back(rows * 1'000'000);
  return std::make_unique<RowShares>(std::vector<RouteTable>(parts, table));
}

// Parts one behind the other: x goes through each as it is.
std::unique_ptr<Executable> PipelineOf(std::vector<std::unique_ptr<Executable>> parts,
                                       ForkJoin* team, std::vector<int> at_a_time) {
  StagedModel model;
  model.flow = StagedModel::Flow::kPipeline;
  model.signature = parts.front()->signature();
  model.max_rows = model.chunk_rows = kMaxRows;
  model.title = "test";
  model.places.push_back({StagePlace::Kind::kInput, 0, 0, 1});
  for (size_t s = 0; s < parts.size(); ++s) {
    const auto input = static_cast<int32_t>(s);
    if (s + 1 < parts.size()) {
      model.places.push_back({StagePlace::Kind::kValue, -1, sizeof(float), 2});
    } else {
      model.places.push_back({StagePlace::Kind::kOutput, 0, 0, 1});
    }
    Stage& stage = model.stages.emplace_back();
    stage.name = absl::StrCat("stage ", s + 1);
    stage.at_a_time = at_a_time[s % at_a_time.size()];
    StagePart& part = stage.parts.emplace_back();
    part.executable = std::move(parts[s]);
    part.inputs = {input};
    part.outputs.push_back({input + 1, {1, sizeof(float), 0, 0}});
  }
  for (StagePlace& place : model.places) place.depth = model.between();
  return std::make_unique<StagedExecutable>(std::move(model), team);
}

std::unique_ptr<Executable> Pipeline(std::vector<std::unique_ptr<Executable>> parts,
                                     ForkJoin* team) {
  return PipelineOf(std::move(parts), team, {1});
}

// Stages as on devices: two small batches at a time.
std::unique_ptr<Executable> DevicePipeline(std::vector<std::unique_ptr<Executable>> parts,
                                           ForkJoin* team) {
  return PipelineOf(std::move(parts), team, {2});
}

std::unique_ptr<Executable> Data(std::vector<std::unique_ptr<Executable>> parts, ForkJoin* team) {
  const size_t count = parts.size();
  return std::make_unique<DataExecutable>(std::move(parts), EqualShares(count), 0, "test", team,
                                          kClock);
}

// Rows 1, 2 .. and where they come out.
class Numbers {
 public:
  explicit Numbers(int64_t rows) : rows_(rows) {
    for (int64_t r = 0; r < rows; ++r) {
      in_[r] = static_cast<float>(r + 1);
      in_rows_[r] = reinterpret_cast<const std::byte*>(&in_[r]);
      out_rows_[r] = reinterpret_cast<std::byte*>(&out_[r]);
    }
  }
  absl::Status Run(const Executable& executable, ExecutionContext& context) {
    std::memset(out_, 0, sizeof(out_));
    return executable.Run({rows_, inputs_, outputs_}, context);
  }
  bool arrived() const {
    return std::memcmp(in_, out_, static_cast<size_t>(rows_) * sizeof(float)) == 0;
  }
  BatchRows batch() const { return {rows_, inputs_, outputs_}; }

 private:
  const int64_t rows_;
  float in_[kMaxRows] = {}, out_[kMaxRows] = {};
  const std::byte* in_rows_[kMaxRows] = {};
  std::byte* out_rows_[kMaxRows] = {};
  const std::byte* const* inputs_[1] = {in_rows_};
  std::byte* const* outputs_[1] = {out_rows_};
};

float FirstValue(const BatchRows& batch) {
  float value = 0;
  std::memcpy(&value, batch.inputs[0][0], sizeof(value));
  return value;
}

struct Way {
  const char* name;
  std::unique_ptr<Executable> (*make)(std::vector<std::unique_ptr<Executable>> parts,
                                      ForkJoin* team);
};

class PartFaultTest : public testing::TestWithParam<Way> {
 protected:
  ThreadTeam three_{3};
  BackwardTeam backward_{3};
};

TEST_P(PartFaultTest, ErrorOfAPartIsTheBatchsAndTheNextBatchRuns) {
  for (ForkJoin* const team : {static_cast<ForkJoin*>(&three_), static_cast<ForkJoin*>(&backward_),
                               static_cast<ForkJoin*>(nullptr)}) {
    for (size_t failing = 0; failing < 3; ++failing) {
      std::atomic<bool> fails{true};
      std::vector<std::unique_ptr<Executable>> parts;
      for (size_t p = 0; p < 3; ++p) {
        auto part = NewPart();
        part->before_run = [&fails, p, failing](const BatchRows&) {
          return p == failing && fails ? absl::InternalError("part broke") : absl::OkStatus();
        };
        parts.push_back(std::move(part));
      }
      // Rows of a batch that runs on one thread are all one part's: the first one's.
      if (team == nullptr && failing > 0 && std::string(GetParam().name) == "data") continue;
      const auto executable = GetParam().make(std::move(parts), team);
      const auto context = executable->CreateContext();
      Numbers numbers(kMaxRows);
      for (int i = 0; i < 20; ++i) {
        fails = i % 2 == 0;
        const absl::Status status = numbers.Run(*executable, *context);
        if (fails) {
          EXPECT_TRUE(absl::IsInternal(status));
          EXPECT_THAT(std::string(status.message()), HasSubstr("part broke"));
        } else {
          ASSERT_TRUE(status.ok()) << status;
          ASSERT_TRUE(numbers.arrived());
        }
      }
    }
  }
}

TEST_P(PartFaultTest, ValuesWithoutMeaningAreTheCallersFault) {
  std::vector<std::unique_ptr<Executable>> parts;
  for (int p = 0; p < 2; ++p) {
    auto part = NewPart();
    part->before_run = [](const BatchRows& batch) {
      return FirstValue(batch) > 0 ? absl::InvalidArgumentError("no meaning") : absl::OkStatus();
    };
    parts.push_back(std::move(part));
  }
  const auto executable = GetParam().make(std::move(parts), &three_);
  const auto context = executable->CreateContext();
  Numbers numbers(kMaxRows);
  EXPECT_TRUE(absl::IsInvalidArgument(numbers.Run(*executable, *context)));
}

TEST_P(PartFaultTest, DeviceThatFailsIsReplacedAndNothingIsLost) {
  std::vector<std::unique_ptr<Executable>> parts;
  parts.push_back(NewPart());
  auto device = NewPart();
  std::atomic<int> batches{0};
  device->before_run = [&batches](const BatchRows&) {
    return batches.fetch_add(1) < 5 ? absl::OkStatus() : absl::UnavailableError("device lost");
  };
  parts.push_back(std::make_unique<FallbackExecutable>(std::move(device), NewPart(), "m"));
  const auto executable = GetParam().make(std::move(parts), &three_);
  const auto context = executable->CreateContext();
  for (int i = 0; i < 30; ++i) {
    Numbers numbers(kMaxRows);
    const absl::Status status = numbers.Run(*executable, *context);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(numbers.arrived());
  }
  EXPECT_EQ(batches.load(), 6);
}

TEST_P(PartFaultTest, ManyBatchesAtATimeShareTheHelpers) {
  std::vector<std::unique_ptr<Executable>> parts;
  for (int p = 0; p < 3; ++p) parts.push_back(NewPart());
  const auto executable = GetParam().make(std::move(parts), &three_);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&, t] {
      const auto context = executable->CreateContext();
      for (int i = 0; i < 200; ++i) {
        Numbers numbers((i + t) % kMaxRows + 1);
        if (!numbers.Run(*executable, *context).ok() || !numbers.arrived()) wrong.fetch_add(1);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_P(PartFaultTest, BatchesThatDoNotFitAreRefused) {
  std::vector<std::unique_ptr<Executable>> parts;
  for (int p = 0; p < 2; ++p) parts.push_back(NewPart());
  const auto executable = GetParam().make(std::move(parts), nullptr);
  const auto context = executable->CreateContext();
  Numbers numbers(kMaxRows);
  BatchRows batch = numbers.batch();
  for (const int64_t rows : {int64_t{0}, kMaxRows + 1}) {
    batch.rows = rows;
    EXPECT_TRUE(absl::IsInvalidArgument(executable->Run(batch, *context)));
  }
  batch.rows = 1;
  batch.outputs = {};
  EXPECT_TRUE(absl::IsInternal(executable->Run(batch, *context)));
}

TEST_P(PartFaultTest, RunningAllocatesNothing) {
  if (!CountsAllocations()) GTEST_SKIP() << "allocations are not counted here";
  for (ForkJoin* const team :
       {static_cast<ForkJoin*>(&backward_), static_cast<ForkJoin*>(nullptr)}) {
    std::vector<std::unique_ptr<Executable>> own;
    for (int p = 0; p < 3; ++p) own.push_back(NewPart());
    const auto executable = GetParam().make(std::move(own), team);
    const auto context = executable->CreateContext();
    Numbers numbers(kMaxRows);
    ASSERT_TRUE(numbers.Run(*executable, *context).ok());
    const int64_t before = ThreadAllocations();
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(numbers.Run(*executable, *context).ok());
    EXPECT_EQ(ThreadAllocations(), before);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, PartFaultTest,
                         testing::Values(Way{"data", &Data}, Way{"pipeline", &Pipeline},
                                         Way{"devices", &DevicePipeline}),
                         [](const testing::TestParamInfo<Way>& param) {
                           return std::string(param.param.name);
                         });

// How many threads are inside a part, and the most that were at once. The two are one step: with a
// step between them a thread that enters later could be the first to say so, and be overwritten.
class Occupancy {
 public:
  void Enter() {
    const MutexLock lock(&mutex_);
    most_ = std::max(most_, ++inside_);
  }

  void Leave() {
    const MutexLock lock(&mutex_);
    --inside_;
  }

  int inside() const {
    const MutexLock lock(&mutex_);
    return inside_;
  }

  int most() const {
    const MutexLock lock(&mutex_);
    return most_;
  }

 private:
  mutable Mutex mutex_;
  int inside_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A stage computes one small batch while the next stage computes the one before.
TEST(PipelineTest, StagesComputeDifferentRowsAtTheSameTime) {
  ThreadTeam team(2);
  Occupancy occupancy;
  const MonotonicNanos deadline = kClock.Now() + int64_t{20'000'000'000};
  std::vector<std::unique_ptr<Executable>> parts;
  for (int p = 0; p < 2; ++p) {
    auto part = NewPart();
    part->before_run = [&, p](const BatchRows& batch) {
      occupancy.Enter();
      // Once the first rows are through the first stage, each stage waits for the other one.
      const bool has_company = p == 1 || FirstValue(batch) > 1;
      while (has_company && occupancy.most() < 2 && kClock.Now() < deadline) {
        std::this_thread::yield();
      }
      occupancy.Leave();
      return absl::OkStatus();
    };
    parts.push_back(std::move(part));
  }
  const auto executable = Pipeline(std::move(parts), &team);
  const auto context = executable->CreateContext();
  Numbers numbers(kMaxRows);
  ASSERT_TRUE(numbers.Run(*executable, *context).ok());
  EXPECT_TRUE(numbers.arrived());
  EXPECT_EQ(occupancy.most(), 2);
}

// What a device copies while it computes: the second stage has the next rows in hand before it is
// through with these, and they may end first.
TEST(PipelineTest, AStageOnADeviceTakesTheNextRowsWhileItComputes) {
  ThreadTeam team(3);
  Occupancy occupancy;
  const MonotonicNanos deadline = kClock.Now() + int64_t{20'000'000'000};
  std::vector<std::unique_ptr<Executable>> parts;
  for (int p = 0; p < 3; ++p) {
    auto part = NewPart();
    if (p == 1) {
      part->before_run = [&](const BatchRows& batch) {
        occupancy.Enter();
        // The first rows and the second wait for one another, whoever comes in first; then the
        // first wait until the second are through.
        const float first_value = FirstValue(batch);
        while (first_value <= 2 && occupancy.most() < 2 && kClock.Now() < deadline) {
          std::this_thread::yield();
        }
        while (first_value == 1 && occupancy.inside() > 1 && kClock.Now() < deadline) {
          std::this_thread::yield();
        }
        occupancy.Leave();
        return absl::OkStatus();
      };
    }
    parts.push_back(std::move(part));
  }
  const auto executable = PipelineOf(std::move(parts), &team, {1, 2, 1});
  const auto context = executable->CreateContext();
  Numbers numbers(kMaxRows);
  ASSERT_TRUE(numbers.Run(*executable, *context).ok());
  EXPECT_TRUE(numbers.arrived());
  EXPECT_EQ(occupancy.most(), 2);
}

TEST(PipelineTest, StagesThatComputeOneAtATimeTakeOne) {
  ThreadTeam team(3);
  Occupancy occupancy;
  std::vector<std::unique_ptr<Executable>> parts;
  for (int p = 0; p < 2; ++p) {
    auto part = NewPart();
    if (p == 1) {
      part->before_run = [&](const BatchRows&) {
        occupancy.Enter();
        std::this_thread::yield();
        occupancy.Leave();
        return absl::OkStatus();
      };
    }
    parts.push_back(std::move(part));
  }
  const auto executable = PipelineOf(std::move(parts), &team, {2, 1});
  const auto context = executable->CreateContext();
  Numbers numbers(kMaxRows);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(numbers.Run(*executable, *context).ok());
    ASSERT_TRUE(numbers.arrived());
  }
  EXPECT_EQ(occupancy.most(), 1);
}

TEST(StagedTest, TimesAreThoseOfTheStages) {
  std::mt19937 random(5);
  LoweredKind kind;
  kind.dense = true;
  kind.outputs = 256;
  const Graph graph = RandomLowered(kind, random);
  ThreadTeam team(2);
  for (const bool tensor : {false, true}) {
    const auto executable =
        tensor ? TensorOf(graph, 2, kMaxRows, &team) : PipelineAt(graph, {1}, kMaxRows, &team);
    ASSERT_TRUE(executable.ok()) << executable.status();
    const std::vector<Operation> operations = (*executable)->operations();
    const auto rows = NormalRows((*executable)->signature(), kMaxRows, random);
    std::vector<const std::byte*> in;
    std::vector<std::vector<std::byte>> memory(
        kMaxRows, std::vector<std::byte>(
                      static_cast<size_t>((*executable)->signature().outputs[0].row_bytes)));
    std::vector<std::byte*> out;
    for (size_t r = 0; r < kMaxRows; ++r) {
      in.push_back(rows[r][0].data());
      out.push_back(memory[r].data());
    }
    const std::byte* const* const inputs[] = {in.data()};
    std::byte* const* const outputs[] = {out.data()};
    std::vector<int64_t> ns(operations.size());
    OperationTimes times{absl::MakeSpan(ns)};
    const auto context = (*executable)->CreateContext();
    ASSERT_TRUE((*executable)->RunTimed({kMaxRows, inputs, outputs}, *context, times).ok());
    EXPECT_EQ(times.rows, kMaxRows);
    int64_t handed = 0;
    for (size_t i = 0; i < ns.size(); ++i) {
      EXPECT_GE(ns[i], 0) << operations[i].name;
      if (operations[i].kernel == "hand over") ++handed;
      if (operations[i].row_macs > 1000) {
        EXPECT_GT(ns[i], 0) << operations[i].name;
      }
    }
    EXPECT_GE(handed, 2);
    EXPECT_THAT((*executable)->DescribePlan(),
                HasSubstr(tensor ? " part 2 of 2 on cpu" : "stage 2 on cpu"));
  }
}

}  // namespace
}  // namespace bitmill
