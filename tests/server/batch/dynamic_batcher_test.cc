#include "server/batch/dynamic_batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "server/schedule/tbb_scheduler.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_scheduler.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr MonotonicNanos kMicrosecond = 1'000;

// Remembers what was run and what was rejected.
class RecordingRunner final : public BatchRunner {
 public:
  int64_t RunBatch(absl::Span<BatchItem* const> items, int64_t rows, int instance) override {
    int64_t sum = 0;
    for (const BatchItem* const item : items) sum += item->rows;
    EXPECT_EQ(sum, rows);
    EXPECT_EQ(running.fetch_or(1 << instance) & (1 << instance), 0) << "instance used twice";
    if (during_run) during_run();
    {
      MutexLock lock(&mutex);
      batches.push_back(rows);
      for (BatchItem* const item : items) ran.push_back(item);
    }
    running.fetch_and(~(1 << instance));
    return run_ns;
  }
  void Reject(BatchItem& item, const absl::Status& status) override {
    MutexLock lock(&mutex);
    rejected[&item] = status;
  }
  std::shared_ptr<const void> KeepAlive(const BatchItem&) override { return alive; }

  std::shared_ptr<int> alive = std::make_shared<int>();
  std::function<void()> during_run;
  int64_t run_ns = 0;
  std::atomic<int> running{0};
  Mutex mutex;
  std::vector<int64_t> batches;
  std::vector<BatchItem*> ran;
  std::map<BatchItem*, absl::Status> rejected;
};

class DynamicBatcherTest : public ::testing::Test {
 protected:
  void Create(const BatcherOptions& options) {
    batcher = std::make_unique<DynamicBatcher>(options, runner, scheduler, clock);
  }
  BatchItem& Item(int64_t rows = 1, MonotonicNanos deadline_ns = 0, uint64_t priority = 0) {
    BatchItem& item = items.emplace_back();
    item.rows = rows;
    item.received_ns = clock.Now();
    item.deadline_ns = deadline_ns;
    item.priority = priority;
    return item;
  }
  void Submit(BatchItem& item, bool may_run_inline = false) {
    BatchItem* const one[] = {&item};
    batcher->Submit(one, may_run_inline);
  }
  void SubmitRows(std::initializer_list<int64_t> rows) {
    for (const int64_t r : rows) Submit(Item(r));
  }

  FakeClock clock;
  FakeScheduler scheduler;
  RecordingRunner runner;
  std::deque<BatchItem> items;
  std::unique_ptr<DynamicBatcher> batcher;  // before what it uses
};

TEST_F(DynamicBatcherTest, StartsAtOnceWhenAnInstanceIsFree) {
  Create({.limits = {.max_rows = 8}});
  Submit(Item());
  EXPECT_EQ(scheduler.queue.size(), 1U);
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(1));
}

TEST_F(DynamicBatcherTest, GathersWhatArrivesWhileAllInstancesAreBusy) {
  Create({.limits = {.max_rows = 8}});
  runner.during_run = [this] {
    runner.during_run = nullptr;
    SubmitRows({1, 2, 1});
  };
  Submit(Item());
  EXPECT_EQ(scheduler.RunAll(), 1) << "one task drains all";
  EXPECT_THAT(runner.batches, ElementsAre(1, 4));
}

TEST_F(DynamicBatcherTest, MakesRoomForOthersAfterAMillisecond) {
  Create({.limits = {.max_rows = 1}});
  runner.during_run = [this] { clock.Advance(400 * kMicrosecond); };
  scheduler.others_wait = true;
  SubmitRows({1, 1, 1, 1, 1});
  EXPECT_EQ(scheduler.RunAll(), 2) << "three batches of 0.4 ms, then the other two";
  EXPECT_EQ(runner.batches.size(), 5U);
  EXPECT_EQ(batcher->waiting(), 0);
  batcher->Drain();  // the instance is free again
}

TEST_F(DynamicBatcherTest, KeepsItsWorkerWhileNobodyWaits) {
  Create({.limits = {.max_rows = 1}});
  runner.during_run = [this] { clock.Advance(5'000 * kMicrosecond); };
  SubmitRows({1, 1, 1});
  EXPECT_EQ(scheduler.RunAll(), 1);
}

TEST_F(DynamicBatcherTest, NeverExceedsMaxRows) {
  Create({.limits = {.max_rows = 4}});
  SubmitRows({3, 2, 2, 4, 1});
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(3, 4, 4, 1));
}

TEST_F(DynamicBatcherTest, RunsItemsInTheirOrder) {
  Create({.limits = {.max_rows = 2}});
  SubmitRows({1, 1, 1});
  scheduler.RunAll();
  EXPECT_THAT(runner.ran, ElementsAre(&items[0], &items[1], &items[2]));
}

TEST_F(DynamicBatcherTest, KeepsRequestsApartWhenTheyMustNotBeGathered) {
  Create({.limits = {.max_rows = 8}, .gather = false});
  SubmitRows({2, 1, 3});
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(2, 1, 3));
}

TEST_F(DynamicBatcherTest, WakesAsManyWorkersAsThereAreBatches) {
  Create({.limits = {.max_rows = 4}, .instances = 3});
  std::vector<BatchItem*> group;
  for (int i = 0; i < 8; ++i) group.push_back(&Item());
  batcher->Submit(group, false);
  EXPECT_EQ(scheduler.queue.size(), 2U);
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(4, 4));
}

TEST_F(DynamicBatcherTest, RunsAShortGroupOnTheSubmittingThread) {
  Create({.limits = {.max_rows = 8}, .inline_limit_ns = 50 * kMicrosecond});
  batcher->cost_model().Observe(1, 10 * kMicrosecond);
  std::vector<BatchItem*> group = {&Item(), &Item(), &Item()};
  batcher->Submit(group, true);
  EXPECT_THAT(runner.batches, ElementsAre(3));
  for (const BatchItem* const item : group) EXPECT_TRUE(item->inline_run);
  EXPECT_EQ(scheduler.inline_runs, 1);
  EXPECT_TRUE(scheduler.queue.empty());
}

TEST_F(DynamicBatcherTest, LeavesALongGroupToTheWorkers) {
  Create({.limits = {.max_rows = 8}, .inline_limit_ns = 50 * kMicrosecond});
  batcher->cost_model().Observe(1, 20 * kMicrosecond);
  std::vector<BatchItem*> group = {&Item(), &Item(), &Item()};
  batcher->Submit(group, true);
  EXPECT_THAT(runner.batches, IsEmpty());
  EXPECT_EQ(scheduler.queue.size(), 1U);
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(3));
  for (const BatchItem* const item : group) EXPECT_FALSE(item->inline_run);
}

TEST_F(DynamicBatcherTest, DoesNotRunInlineUnlessAllowed) {
  Create({.limits = {.max_rows = 8}, .inline_limit_ns = 50 * kMicrosecond});
  Submit(Item(), false);
  EXPECT_THAT(runner.batches, IsEmpty());
  scheduler.RunAll();
}

TEST_F(DynamicBatcherTest, DoesNotRunInlineWhileAWorkerIsOnItsWay) {
  Create({.limits = {.max_rows = 8}, .instances = 2, .inline_limit_ns = 50 * kMicrosecond});
  Submit(Item(), false);
  Submit(Item(), true);
  EXPECT_EQ(scheduler.inline_runs, 0);
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(2));
}

TEST_F(DynamicBatcherTest, WaitsForTheConfiguredDelayAndNoLonger) {
  Create({.limits = {.max_rows = 8, .max_delay_ns = 500 * kMicrosecond}});
  Submit(Item());
  clock.Advance(200 * kMicrosecond);
  Submit(Item());
  EXPECT_TRUE(scheduler.queue.empty());
  ASSERT_EQ(scheduler.timers.size(), 1U);
  clock.Advance(300 * kMicrosecond);
  scheduler.RunTimers(clock.Now());
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(2));
}

TEST_F(DynamicBatcherTest, StopsWaitingWhenTheBatchIsFull) {
  Create({.limits = {.max_rows = 2, .max_delay_ns = 500 * kMicrosecond}});
  SubmitRows({1, 1});
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(2));
  scheduler.RunTimers(clock.Now() + 500 * kMicrosecond);  // finds nothing to do
  EXPECT_EQ(scheduler.RunAll(), 0);
}

TEST_F(DynamicBatcherTest, ServesHigherPrioritiesFirst) {
  Create({.limits = {.max_rows = 2}});
  for (const uint64_t priority : {7U, 3U, 1U, 0U, 100U}) Submit(Item(1, 0, priority));
  scheduler.RunAll();
  EXPECT_THAT(runner.ran, ElementsAre(&items[2], &items[3], &items[1], &items[0], &items[4]));
}

TEST_F(DynamicBatcherTest, NeverComputesWhatIsPastItsDeadline) {
  Create({.limits = {.max_rows = 8}});
  Submit(Item(1, clock.Now() + 100 * kMicrosecond));
  Submit(Item());
  clock.Advance(100 * kMicrosecond);
  scheduler.RunAll();
  EXPECT_THAT(runner.ran, ElementsAre(&items[1]));
  EXPECT_EQ(runner.rejected[&items[0]].code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(DynamicBatcherTest, NeverComputesWhatIsCancelled) {
  Create({.limits = {.max_rows = 8}});
  std::atomic<bool> cancelled{false};
  Item().cancelled = &cancelled;
  Submit(items[0]);
  cancelled = true;
  scheduler.RunAll();
  EXPECT_THAT(runner.ran, IsEmpty());
  EXPECT_EQ(runner.rejected[&items[0]].code(), absl::StatusCode::kCancelled);
}

TEST_F(DynamicBatcherTest, RefusesWithAHintWhenTheQueueIsFull) {
  Create({.name = "model 'm'", .limits = {.max_rows = 1}, .max_queue_requests = 2});
  batcher->cost_model().Observe(1, 50'000'000);
  SubmitRows({1, 1, 1});
  const absl::Status status = runner.rejected[&items[2]];
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("model 'm': the queue is full (2 requests"));
  EXPECT_EQ(status.GetPayload(kRetryAfterPayload), "100");
  scheduler.RunAll();
  EXPECT_THAT(runner.ran, ElementsAre(&items[0], &items[1]));
}

TEST_F(DynamicBatcherTest, MakesRoomByDroppingTheDeadFirst) {
  Create({.limits = {.max_rows = 1}, .max_queue_requests = 2});
  Submit(Item(1, clock.Now() + kMicrosecond));
  Submit(Item());
  clock.Advance(kMicrosecond);
  Submit(Item());
  EXPECT_EQ(runner.rejected.size(), 1U);
  EXPECT_EQ(runner.rejected[&items[0]].code(), absl::StatusCode::kDeadlineExceeded);
  scheduler.RunAll();
  EXPECT_THAT(runner.ran, ElementsAre(&items[1], &items[2]));
}

TEST_F(DynamicBatcherTest, KeepsTheDepthOfTheQueue) {
  std::atomic<int64_t> depth{-1};
  Create({.limits = {.max_rows = 1}, .queue_depth = &depth});
  SubmitRows({1, 1});
  EXPECT_EQ(depth, 2);
  scheduler.RunAll();
  EXPECT_EQ(depth, 0);
}

TEST_F(DynamicBatcherTest, TellsQueueAndScheduleTimeApart) {
  Create({.limits = {.max_rows = 1}});
  runner.during_run = [this] { clock.Advance(30 * kMicrosecond); };
  SubmitRows({1, 1});
  clock.Advance(70 * kMicrosecond);  // until the worker has woken
  scheduler.RunAll();
  EXPECT_EQ(items[0].times[Stage::kSchedule], 70 * kMicrosecond);
  EXPECT_EQ(items[0].times[Stage::kQueue], 0);
  EXPECT_EQ(items[1].times[Stage::kSchedule], 70 * kMicrosecond);
  EXPECT_EQ(items[1].times[Stage::kQueue], 30 * kMicrosecond);
}

TEST_F(DynamicBatcherTest, IsKeptAliveByWorkOnItsWay) {
  Create({.limits = {.max_rows = 8}});
  Submit(Item());
  EXPECT_GT(runner.alive.use_count(), 1);
  scheduler.RunAll();
  EXPECT_EQ(runner.alive.use_count(), 1);
}

TEST(DynamicBatcherThreadsTest, RunsWhatWaitsWhenDrainedAndStillWhatComesLate) {
  FakeClock clock;  // stands still: the delay never passes
  RecordingRunner runner;
  const auto scheduler = CreateTbbScheduler({.workers = 2, .io_threads = 1}, clock);
  DynamicBatcher batcher(
      {.name = "model 'm'", .limits = {.max_rows = 8, .max_delay_ns = 1'000'000'000}}, runner,
      *scheduler, clock);
  BatchItem waits;
  BatchItem* const one[] = {&waits};
  batcher.Submit(one, false);
  batcher.Drain();
  EXPECT_THAT(runner.ran, ElementsAre(&waits));
  BatchItem late;
  BatchItem* const two[] = {&late};
  batcher.Submit(two, false);
  batcher.Drain();
  EXPECT_THAT(runner.ran, ElementsAre(&waits, &late));
}

TEST(DynamicBatcherThreadsTest, FinishesEveryItemOnceWhateverTheThreadsDo) {
  const SystemClock clock{};
  RecordingRunner runner;
  const auto scheduler = CreateTbbScheduler({.workers = 3, .io_threads = 2}, clock);
  DynamicBatcher batcher({.limits = {.max_rows = 4},
                          .instances = 3,
                          .max_queue_requests = 64,
                          .inline_limit_ns = 1'000'000},
                         runner, *scheduler, clock);
  constexpr int kThreads = 2;
  constexpr int kItems = 4'000;
  std::vector<std::deque<BatchItem>> items(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kItems; i += 2) {
        std::vector<BatchItem*> group;
        for (int k = 0; k < 2; ++k) {
          BatchItem& item = items[static_cast<size_t>(t)].emplace_back();
          item.rows = 1 + (i + k) % 4;
          group.push_back(&item);
        }
        batcher.Submit(group, i % 3 == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  batcher.Drain();
  EXPECT_EQ(runner.ran.size() + runner.rejected.size(), size_t{kThreads} * kItems);
  const std::set<BatchItem*> distinct(runner.ran.begin(), runner.ran.end());
  EXPECT_EQ(distinct.size(), runner.ran.size());
  for (const int64_t rows : runner.batches) EXPECT_LE(rows, 4);
}

}  // namespace
}  // namespace bitmill
