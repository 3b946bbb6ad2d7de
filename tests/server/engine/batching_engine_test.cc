#include "server/engine/batching_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/schedule/tbb_scheduler.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_repository.h"
#include "tests/fakes/fake_scheduler.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr MonotonicNanos kMicrosecond = 1'000;
constexpr int64_t kMaxRows = 8;

// A request of int32 rows of two elements with room for its answer.
struct Request {
  explicit Request(ModelHandle model, std::vector<int32_t> values) : input(std::move(values)) {
    output.resize(input.size());
    inputs = {reinterpret_cast<const std::byte*>(input.data())};
    outputs = {reinterpret_cast<std::byte*>(output.data())};
    task.model = std::move(model);
    task.rows = static_cast<int64_t>(input.size() / 2);
    task.inputs = inputs;
    task.outputs = outputs;
    task.owner = this;
    task.done = [](InferTask& done_task, const absl::Status& done_status) {
      auto& request = *static_cast<Request*>(done_task.owner);
      request.status = done_status;
      ++request.times_done;
      done_task.model.reset();
    };
  }
  std::vector<int32_t> input, output;
  std::array<const std::byte*, 1> inputs{};
  std::array<std::byte*, 1> outputs{};
  InferTask task;
  absl::Status status = absl::UnknownError("not done");
  int times_done = 0;
};

class BatchingEngineTest : public ::testing::Test {
 protected:
  // `change` may alter the model before it is served.
  FakeExecutable* Add(const std::string& name,
                      std::function<void(ServedModel&, FakeExecutable&)> change = {}) {
    FakeExecutable* made = nullptr;
    const absl::Status status = repository.Add(name, [&made, name, change] {
      auto executable =
          std::make_unique<FakeExecutable>(IdentitySignature(DType::kInt32, {2}), kMaxRows);
      made = executable.get();
      FakeExecutable& reference = *executable;
      std::unique_ptr<ServedModel> model = MakeServedModel(name, 1, std::move(executable));
      model->settings.warmup_requests = 0;
      if (change) change(*model, reference);
      return model;
    });
    EXPECT_TRUE(status.ok()) << status;
    return made;
  }
  ModelHandle Model(const std::string& name) { return *repository.Find(name, 0); }
  Request& Make(const std::string& name, std::vector<int32_t> values) {
    Request& request = requests.emplace_back(Model(name), std::move(values));
    request.task.received_ns = clock.Now();
    return request;
  }
  void Submit(std::vector<Request*> group, bool may_run_inline = false) {
    std::vector<InferTask*> tasks;
    for (Request* const request : group) tasks.push_back(&request->task);
    engine->Submit(tasks, may_run_inline);
  }

  FakeClock clock;
  FakeScheduler scheduler;
  std::unique_ptr<ServerMetrics> metrics = CreateServerMetrics({});
  std::unique_ptr<Engine> engine =
      CreateBatchingEngine({.inline_limit_ns = 100 * kMicrosecond}, scheduler, *metrics, clock);
  FakeRepository repository{engine->runtime_factory()};
  std::deque<Request> requests;
};

TEST_F(BatchingEngineTest, GivesEachRequestOfABatchItsOwnRows) {
  FakeExecutable* const executable = Add("m");
  Request& a = Make("m", {1, 2});
  Request& b = Make("m", {3, 4, 5, 6});
  Submit({&a, &b});
  scheduler.RunAll();
  EXPECT_TRUE(a.status.ok());
  EXPECT_THAT(executable->batches(), ElementsAre(3));
  EXPECT_EQ(a.output, a.input);
  EXPECT_EQ(b.output, b.input);
  EXPECT_EQ(a.task.batch_rows, 3);
}

TEST_F(BatchingEngineTest, RunsAShortModelBeforeSubmitReturns) {
  Add("m");
  Request& request = Make("m", {1, 2});
  Submit({&request}, true);
  EXPECT_TRUE(request.status.ok());
  EXPECT_EQ(scheduler.inline_runs, 1);
}

TEST_F(BatchingEngineTest, BatchesTheTasksOfEachModelByThemselves) {
  FakeExecutable* const first = Add("first");
  FakeExecutable* const second = Add("second");
  std::vector<Request*> group;
  for (int i = 0; i < 3; ++i) {
    group.push_back(&Make("first", {i, i}));
    group.push_back(&Make("second", {-i, i}));
  }
  Submit(group, true);
  EXPECT_THAT(first->batches(), ElementsAre(3));
  EXPECT_THAT(second->batches(), ElementsAre(3));
  for (const Request* const request : group) EXPECT_EQ(request->output, request->input);
}

TEST_F(BatchingEngineTest, OneBadRequestDoesNotFailItsBatch) {
  Add("m", [](ServedModel&, FakeExecutable& executable) {
    executable.before_run = [](const BatchRows& batch) {
      for (int64_t r = 0; r < batch.rows; ++r) {
        int32_t value = 0;
        std::memcpy(&value, batch.inputs[0][r], sizeof(value));
        if (value == 13) return absl::InvalidArgumentError("13 has no meaning");
      }
      return absl::OkStatus();
    };
  });
  Request& good = Make("m", {1, 2});
  Request& bad = Make("m", {13, 0});
  Submit({&good, &bad});
  scheduler.RunAll();
  EXPECT_TRUE(good.status.ok());
  EXPECT_EQ(good.output, good.input);
  EXPECT_EQ(good.task.batch_rows, 1);
  EXPECT_EQ(bad.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(good.times_done, 1);
  EXPECT_EQ(bad.times_done, 1);
}

TEST_F(BatchingEngineTest, ARequestsOwnTimeoutCountsWhereItMay) {
  for (const bool allowed : {false, true}) {
    const std::string name = allowed ? "allowed" : "fixed";
    Add(name, [allowed](ServedModel& model, FakeExecutable&) {
      model.settings.batch.default_timeout_us = 1'000;
      model.settings.batch.allow_timeout_override = allowed;
    });
    Request& plain = Make(name, {1, 2});
    Request& patient = Make(name, {3, 4});
    patient.task.timeout_us = 1'000'000;
    Submit({&plain, &patient});
    clock.Advance(1'000 * kMicrosecond);
    scheduler.RunAll();
    EXPECT_EQ(plain.status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(patient.status.ok(), allowed) << patient.status;
  }
}

TEST_F(BatchingEngineTest, ATimeoutThatOverflowsIsNone) {
  Add("m");
  Request& request = Make("m", {1, 2});
  request.task.timeout_us = std::numeric_limits<int64_t>::max();
  Submit({&request});
  scheduler.RunAll();
  EXPECT_TRUE(request.status.ok());
}

TEST_F(BatchingEngineTest, KeepsAnUnloadedModelUntilItsRequestsAreDone) {
  Add("m");
  Request& request = Make("m", {1, 2});
  Submit({&request});
  const std::weak_ptr<const ServedModel> model = request.task.model;
  {
    const ModelHandle replaced = Model("m");
    EXPECT_EQ(replaced, model.lock());
  }
  std::thread unload([this] { ASSERT_TRUE(repository.Unload("m").ok()); });
  while (repository.Find("m", 0).ok()) std::this_thread::yield();
  scheduler.RunAll();
  unload.join();
  EXPECT_TRUE(request.status.ok());
  EXPECT_TRUE(model.expired());
}

TEST_F(BatchingEngineTest, RefusesEverythingOnceDrained) {
  Add("m");
  engine->Drain();
  Request& request = Make("m", {1, 2});
  Submit({&request}, true);
  EXPECT_EQ(request.status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(BatchingEngineTest, CountsWhatItDoes) {
  Add("m");
  ModelMetrics& counts = engine->MetricsOf(*Model("m"));
  Request& a = Make("m", {1, 2});
  Request& b = Make("m", {3, 4});
  Submit({&a, &b});
  EXPECT_EQ(counts.in_flight, 2);
  EXPECT_EQ(counts.queue_depth, 2);
  scheduler.RunAll();
  EXPECT_EQ(counts.in_flight, 0);
  EXPECT_EQ(counts.queue_depth, 0);
  EXPECT_EQ(counts.Snapshot().executions, 1);
}

TEST_F(BatchingEngineTest, WarmsUpBeforeTheModelIsServed) {
  FakeExecutable* const executable =
      Add("m", [](ServedModel& model, FakeExecutable&) { model.settings.warmup_requests = 2; });
  EXPECT_THAT(executable->batches(), ElementsAre(1, 1, 1, kMaxRows, kMaxRows, kMaxRows));
}

TEST_F(BatchingEngineTest, RefusesAModelThatCannotRunButNotOneThatDislikesZeros) {
  for (const absl::Status& result :
       {absl::InternalError("broken"), absl::InvalidArgumentError("zero has no meaning")}) {
    const absl::Status added = repository.Add("m", [&result] {
      auto executable =
          std::make_unique<FakeExecutable>(IdentitySignature(DType::kInt32, {2}), kMaxRows);
      executable->before_run = [result](const BatchRows&) { return result; };
      return MakeServedModel("m", 1, std::move(executable));
    });
    if (absl::IsInternal(result)) {
      EXPECT_THAT(std::string(added.message()), HasSubstr("warm-up with 1 rows failed: broken"));
    } else {
      EXPECT_TRUE(added.ok()) << added;
    }
  }
}

// Requests, replacements and an unload at once, with real threads.
TEST(BatchingEngineThreadsTest, ServesWhileModelsAreReplaced) {
  const SystemClock clock{};
  const auto metrics = CreateServerMetrics({});
  const auto scheduler = CreateTbbScheduler({.workers = 2, .io_threads = 1}, clock);
  const auto engine = CreateBatchingEngine({}, *scheduler, *metrics, clock);
  FakeRepository repository(engine->runtime_factory());
  ASSERT_TRUE(repository
                  .Add("m",
                       [] {
                         return MakeServedModel(
                             "m", 1,
                             std::make_unique<FakeExecutable>(IdentitySignature(DType::kInt32, {2}),
                                                              kMaxRows));
                       })
                  .ok());
  std::atomic<bool> stop{false};
  std::thread replace([&] {
    while (!stop) ASSERT_TRUE(repository.Load("m").ok());
  });
  int served = 0;
  std::deque<Request> requests;
  for (int i = 0; i < 3'000; ++i) {
    Request& request = requests.emplace_back(*repository.Find("m", 0), std::vector{i, -i});
    request.task.received_ns = clock.Now();
    engine->Submit(request.task, i % 2 == 0);
  }
  stop = true;
  replace.join();
  engine->Drain();
  for (const Request& request : requests) {
    EXPECT_EQ(request.times_done, 1);
    // Between a look-up and the submission the version may have been replaced and drained.
    if (absl::IsResourceExhausted(request.status)) continue;  // we may be faster than the workers
    ASSERT_TRUE(request.status.ok()) << request.status;
    ++served;
    EXPECT_EQ(request.output, request.input);
  }
  EXPECT_GT(served, 0);
}

// A clock that moves on whenever somebody looks.
class RestlessClock final : public Clock {
 public:
  MonotonicNanos Now() const override { return now_ += 7; }
  int64_t UnixMillis() const override { return 0; }

 private:
  mutable MonotonicNanos now_ = 1'000'000'000;
};

TEST(BatchingEngineLogTest, StagesLeaveNoTimeOutAndExecutionsAreRecorded) {
  const RestlessClock clock;
  FakeScheduler scheduler;
  RequestLog log;
  const std::unique_ptr<ServerMetrics> metrics = CreateServerMetrics({});
  const std::unique_ptr<Engine> engine =
      CreateBatchingEngine({.inline_limit_ns = 0, .log = &log}, scheduler, *metrics, clock);
  FakeRepository repository{engine->runtime_factory()};
  ASSERT_TRUE(repository
                  .Add("m",
                       [] {
                         return MakeServedModel(
                             "m", 1,
                             std::make_unique<FakeExecutable>(IdentitySignature(DType::kInt32, {2}),
                                                              kMaxRows));
                       })
                  .ok());
  Request a(*repository.Find("m", 0), {1, 2});
  Request b(*repository.Find("m", 0), {3, 4, 5, 6});
  for (Request* const request : {&a, &b}) {
    request->task.received_ns = request->task.queued_ns = clock.Now();
  }
  InferTask* const tasks[] = {&a.task, &b.task};
  engine->Submit(tasks, /*may_run_inline=*/false);
  scheduler.RunAll();
  for (const Request* const request : {&a, &b}) {
    const StageTimes& times = request->task.times;
    EXPECT_EQ(times[Stage::kQueue] + times[Stage::kSchedule] + times[Stage::kAssemble] +
                  times[Stage::kCompute],
              request->task.computed_ns - request->task.queued_ns);
  }
  std::vector<ExecutionRecord> records;
  log.Drain([](const RequestRecord&) {},
            [&records](const ExecutionRecord& record) { records.push_back(record); },
            [](const TurnRecord&) {});
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].rows, 3);
  EXPECT_EQ(records[0].requests, 2);
  EXPECT_EQ(records[0].compute_ns, a.task.times[Stage::kCompute]);
  EXPECT_EQ(records[0].closed, BatchClosed::kNoDelay);
  EXPECT_FALSE(records[0].inline_run);
}

TEST(BatchingEngineLogTest, AnInlineRunIsToldAndWhatLiesAroundIt) {
  FakeClock clock;
  FakeScheduler scheduler;
  RequestLog log;
  const std::unique_ptr<ServerMetrics> metrics = CreateServerMetrics({});
  const std::unique_ptr<Engine> engine = CreateBatchingEngine(
      {.inline_limit_ns = 100 * kMicrosecond, .log = &log}, scheduler, *metrics, clock);
  FakeRepository repository{engine->runtime_factory()};
  ASSERT_TRUE(repository
                  .Add("m",
                       [&clock] {
                         auto executable = std::make_unique<FakeExecutable>(
                             IdentitySignature(DType::kInt32, {2}), kMaxRows);
                         executable->before_run = [&clock](const BatchRows&) {
                           clock.Advance(3 * kMicrosecond);
                           return absl::OkStatus();
                         };
                         return MakeServedModel("m", 1, std::move(executable));
                       })
                  .ok());
  static FakeClock* answering = nullptr;
  answering = &clock;
  std::deque<Request> requests;
  std::vector<InferTask*> tasks;
  for (int i = 0; i < 2; ++i) {
    Request& request = requests.emplace_back(*repository.Find("m", 0), std::vector<int32_t>{i, i});
    request.task.done = [](InferTask& task, const absl::Status&) {
      answering->Advance(10 * kMicrosecond);
      task.model.reset();
    };
    tasks.push_back(&request.task);
  }
  engine->Submit(tasks, /*may_run_inline=*/true);
  EXPECT_EQ(scheduler.inline_runs, 1);
  std::vector<ExecutionRecord> records;
  log.Drain([](const RequestRecord&) {},
            [&records](const ExecutionRecord& record) { records.push_back(record); },
            [](const TurnRecord&) {});
  ASSERT_EQ(records.size(), 1U);
  EXPECT_TRUE(records[0].inline_run);
  EXPECT_EQ(records[0].requests, 2);
  EXPECT_EQ(records[0].compute_ns, 3 * kMicrosecond);
  EXPECT_EQ(records[0].around_ns, 20 * kMicrosecond);  // answering both
}

}  // namespace
}  // namespace bitmill
