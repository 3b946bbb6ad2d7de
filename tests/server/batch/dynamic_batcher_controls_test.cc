// What may be changed while requests come, what is refused on arrival, and what is told about a
// batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "server/batch/dynamic_batcher.h"
#include "server/schedule/tbb_scheduler.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_scheduler.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr MonotonicNanos kMilli = 1'000'000;

class RecordingRunner final : public BatchRunner {
 public:
  int64_t RunBatch(absl::Span<BatchItem* const> items, int64_t rows, int) override {
    if (during_run) during_run();
    MutexLock lock(&mutex);
    batches.push_back(rows);
    for (BatchItem* const item : items) ran.push_back(item);
    return computed_ns;
  }
  void Reject(BatchItem& item, const absl::Status& status) override {
    MutexLock lock(&mutex);
    rejected[&item] = status;
  }
  std::shared_ptr<const void> KeepAlive(const BatchItem&) override { return alive; }

  std::shared_ptr<int> alive = std::make_shared<int>();
  std::function<void()> during_run;
  int64_t computed_ns = 0;  // what each run tells
  Mutex mutex;
  std::vector<int64_t> batches;
  std::vector<BatchItem*> ran;
  std::map<BatchItem*, absl::Status> rejected;
};

class BatcherControlsTest : public ::testing::Test {
 protected:
  void Create(const BatcherOptions& options) {
    batcher = std::make_unique<DynamicBatcher>(options, runner, scheduler, clock);
  }
  BatchItem& Submit(int64_t rows = 1, MonotonicNanos deadline_ns = 0, uint64_t priority = 0) {
    BatchItem& item = items.emplace_back();
    item.rows = rows;
    item.received_ns = clock.Now();
    item.deadline_ns = deadline_ns;
    item.priority = priority;
    BatchItem* const one[] = {&item};
    batcher->Submit(one, false);
    return item;
  }
  // Changes one control and leaves the others.
  void Set(const std::function<void(BatchControls&)>& change) {
    BatchControls controls = batcher->controls();
    change(controls);
    batcher->SetControls(controls);
  }
  void AdmitWithin(MonotonicNanos ns) {
    Set([ns](BatchControls& controls) { controls.admit_within_ns = ns; });
  }

  FakeClock clock;
  FakeScheduler scheduler;
  RecordingRunner runner;
  std::deque<BatchItem> items;
  std::unique_ptr<DynamicBatcher> batcher;  // before what it uses
};

TEST_F(BatcherControlsTest, BeginWithWhatTheBatcherWasCreatedWith) {
  Create({.limits = {.max_rows = 16, .max_bytes = 80, .row_bytes = 10, .max_delay_ns = 5},
          .instances = 3,
          .max_queue_requests = 7});
  const BatchControls controls = batcher->controls();
  EXPECT_EQ(controls.max_rows, 8) << "what the bytes allow";
  EXPECT_EQ(controls.max_delay_ns, 5);
  EXPECT_EQ(controls.instances, 3);
  EXPECT_EQ(controls.max_queue_requests, 7);
  EXPECT_EQ(controls.admit_within_ns, 0);
}

TEST_F(BatcherControlsTest, AreBroughtIntoTheirBounds) {
  Create({.limits = {.max_rows = 8}, .instances = 3});
  batcher->SetControls({.max_rows = 100,
                        .max_delay_ns = -1,
                        .instances = 100,
                        .max_queue_requests = 0,
                        .admit_within_ns = -1});
  BatchControls controls = batcher->controls();
  EXPECT_EQ(controls.max_rows, 8);
  EXPECT_EQ(controls.max_delay_ns, 0);
  EXPECT_EQ(controls.instances, 3);
  EXPECT_EQ(controls.max_queue_requests, 1);
  EXPECT_EQ(controls.admit_within_ns, 0);
  batcher->SetControls({.max_rows = 0, .instances = 0});
  controls = batcher->controls();
  EXPECT_EQ(controls.max_rows, 1);
  EXPECT_EQ(controls.instances, 1);
}

TEST_F(BatcherControlsTest, FewerRowsHoldForWhatWaitsAndALargerRequestRunsAlone) {
  Create({.limits = {.max_rows = 8}});
  for (int i = 0; i < 4; ++i) Submit();
  Submit(3);
  Submit();
  Set([](BatchControls& controls) { controls.max_rows = 2; });
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(2, 2, 3, 1));
}

TEST_F(BatcherControlsTest, AShorterDelayStartsWhatWaits) {
  Create({.limits = {.max_rows = 8, .max_delay_ns = 50 * kMilli}});
  Submit();
  EXPECT_TRUE(scheduler.queue.empty());
  Set([](BatchControls& controls) { controls.max_delay_ns = 0; });
  EXPECT_EQ(scheduler.queue.size(), 1U);
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(1));
}

TEST_F(BatcherControlsTest, ADelayMayBeSetWhereNoneWas) {
  Create({.limits = {.max_rows = 8}});
  Set([](BatchControls& controls) { controls.max_delay_ns = 2 * kMilli; });
  Submit();
  EXPECT_TRUE(scheduler.queue.empty());
  clock.Advance(2 * kMilli);
  scheduler.RunTimers(clock.Now());
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(1));
}

TEST_F(BatcherControlsTest, OnlyTheInstancesInUseAreWoken) {
  Create({.limits = {.max_rows = 1}, .instances = 3});
  Set([](BatchControls& controls) { controls.instances = 1; });
  for (int i = 0; i < 4; ++i) Submit();
  EXPECT_EQ(scheduler.queue.size(), 1U);
  Set([](BatchControls& controls) { controls.instances = 2; });
  EXPECT_EQ(scheduler.queue.size(), 2U);
  scheduler.RunAll();
  EXPECT_EQ(runner.ran.size(), 4U);
  batcher->Drain();  // returns: all instances are back
}

TEST_F(BatcherControlsTest, ARunningInstanceThatIsNotWantedTakesNothingMore) {
  Create({.limits = {.max_rows = 1}, .instances = 2});
  for (int i = 0; i < 4; ++i) Submit();
  std::vector<size_t> waited;
  runner.during_run = [&] {
    if (runner.batches.empty()) Set([](BatchControls& controls) { controls.instances = 1; });
    waited.push_back(scheduler.queue.size());
  };
  EXPECT_EQ(scheduler.RunAll(), 2);
  // The first worker leaves after its batch while the second has yet to begin; that one runs three.
  EXPECT_THAT(waited, ElementsAre(1, 0, 0, 0));
  batcher->Drain();
}

TEST_F(BatcherControlsTest, AShorterQueueRefusesWithAHint) {
  Create({.name = "model 'm'", .limits = {.max_rows = 1}});
  Set([](BatchControls& controls) { controls.max_queue_requests = 1; });
  Submit();
  const absl::Status status = runner.rejected[&Submit()];
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the queue is full (1 request waits)"));
  scheduler.RunAll();
}

TEST_F(BatcherControlsTest, WhatIsPredictedToBeLateIsRefusedWithAHint) {
  Create({.name = "model 'm'", .limits = {.max_rows = 1}});
  batcher->cost_model().Observe(1, 10 * kMilli);
  AdmitWithin(25 * kMilli);
  for (int i = 0; i < 3; ++i) Submit();  // answered after 10, 20 and 30 ms
  ASSERT_EQ(runner.rejected.size(), 1U);
  const absl::Status status = runner.rejected[&items[2]];
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "model 'm' is busy: the answer would come about 5 ms later than the 25 ms that are "
            "allowed; try again in about 5 ms");
  EXPECT_EQ(status.GetPayload(kRetryAfterPayload), "5");
  scheduler.RunAll();
  EXPECT_THAT(runner.ran, ElementsAre(&items[0], &items[1]));
}

TEST_F(BatcherControlsTest, APredictionCountsBatchesNotRequests) {
  Create({.limits = {.max_rows = 4}});
  batcher->cost_model().Observe(4, 10 * kMilli);
  AdmitWithin(20 * kMilli);
  for (int i = 0; i < 9; ++i) Submit();
  EXPECT_EQ(runner.rejected.size(), 1U) << "two batches of four are in time";
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(4, 4));
}

TEST_F(BatcherControlsTest, NobodyMakesThoseLateThatAreComputedWithIt) {
  Create({.limits = {.max_rows = 8}});
  batcher->cost_model().Observe(1, 10 * kMilli);  // and 10 ms for each row more
  AdmitWithin(40 * kMilli);
  int runs = 0;
  runner.during_run = [&] {
    if (runs++ > 0) return;
    EXPECT_FALSE(runner.rejected.contains(&Submit())) << "20 ms from now";
    clock.Advance(8 * kMilli);
    EXPECT_FALSE(runner.rejected.contains(&Submit())) << "2 + 20 ms, the first after 30";
    EXPECT_FALSE(runner.rejected.contains(&Submit())) << "2 + 30 ms, the first after 40";
    clock.Advance(2 * kMilli);
    EXPECT_TRUE(runner.rejected.contains(&Submit())) << "40 ms, but the first after 50";
  };
  Submit();
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(1, 3));
}

TEST_F(BatcherControlsTest, WhoWouldMakeOthersLateIsComputedInTheNextBatch) {
  Create({.limits = {.max_rows = 8}});
  batcher->cost_model().Observe(1, 11 * kMilli);
  batcher->cost_model().Observe(8, 46 * kMilli);  // 6 ms, and 5 for each row
  AdmitWithin(60 * kMilli);
  int runs = 0;
  runner.during_run = [&] {
    if (runs++ > 0) return;
    clock.Advance(kMilli);
    Submit();  // answered after 46 + 11 ms, wanted after 61
    clock.Advance(39 * kMilli);
    EXPECT_FALSE(runner.rejected.contains(&Submit())) << "after 57 + 11 ms, wanted after 100";
  };
  Submit(8);
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(8, 1, 1));
  EXPECT_EQ(items[1].closed, BatchClosed::kDeadline);
}

TEST_F(BatcherControlsTest, APredictionCountsWhatIsLeftOfARunningBatch) {
  Create({.limits = {.max_rows = 1}});
  batcher->cost_model().Observe(1, 10 * kMilli);
  AdmitWithin(15 * kMilli);
  Submit();
  int tries = 0;
  runner.during_run = [&] {
    if (tries++ > 0) return;
    clock.Advance(4 * kMilli);
    EXPECT_TRUE(runner.rejected.contains(&Submit())) << "6 + 10 ms";
    clock.Advance(2 * kMilli);
    EXPECT_FALSE(runner.rejected.contains(&Submit())) << "4 + 10 ms";
    clock.Advance(4 * kMilli);
  };
  scheduler.RunAll();
  EXPECT_THAT(runner.batches, ElementsAre(1, 1));
}

TEST_F(BatcherControlsTest, APredictionCountsWhatComesAfterTheComputation) {
  Create({.limits = {.max_rows = 1}});
  AdmitWithin(29 * kMilli);
  runner.computed_ns = 10 * kMilli;
  runner.during_run = [&] { clock.Advance(15 * kMilli); };  // answers are written, too
  Submit();
  scheduler.RunAll();
  Submit();
  EXPECT_TRUE(runner.rejected.contains(&Submit())) << "15 ms, twice";
  scheduler.RunAll();
  AdmitWithin(30 * kMilli);
  Submit();
  EXPECT_FALSE(runner.rejected.contains(&Submit()));
  scheduler.RunAll();
}

TEST_F(BatcherControlsTest, WhereAnswersAreLateMoreIsLeft) {
  Create({.limits = {.max_rows = 1}});
  batcher->cost_model().Observe(1, 10 * kMilli);
  AdmitWithin(20 * kMilli);
  const auto second_fits = [&] {
    Submit();
    return !runner.rejected.contains(&Submit());  // predicted after 20 ms, at the end of its time
  };
  EXPECT_TRUE(second_fits());
  runner.during_run = [&] { clock.Advance(25 * kMilli); };  // what it told is not to be counted
  scheduler.RunAll();
  EXPECT_FALSE(second_fits());
  runner.during_run = [&] { clock.Advance(10 * kMilli); };
  scheduler.RunAll();
  for (int i = 0; i < 200; ++i) {  // one late of fifty is no reason
    Submit();
    scheduler.RunAll();
  }
  EXPECT_TRUE(second_fits());
  scheduler.RunAll();
}

TEST_F(BatcherControlsTest, APredictionKnowsHowManyInstancesThereAre) {
  Create({.limits = {.max_rows = 1}, .instances = 2});
  batcher->cost_model().Observe(1, 10 * kMilli);
  AdmitWithin(20 * kMilli);
  for (int i = 0; i < 5; ++i) Submit();  // two answered after 10 ms, two after 20
  EXPECT_EQ(runner.rejected.size(), 1U);
  EXPECT_TRUE(runner.rejected.contains(&items[4]));
  scheduler.RunAll();
}

TEST_F(BatcherControlsTest, APredictionKnowsHowLongWorkersTakeToCome) {
  Create({.limits = {.max_rows = 1}});
  batcher->cost_model().Observe(1, kMilli);
  for (int i = 0; i < 40; ++i) {  // other models have their turns
    Submit();
    clock.Advance(8 * kMilli);
    scheduler.RunAll();
  }
  AdmitWithin(12 * kMilli);
  Submit();
  EXPECT_TRUE(runner.rejected.contains(&Submit())) << "8 + 1 ms, twice";
  scheduler.RunAll();
}

TEST_F(BatcherControlsTest, WhatMissesItsOwnDeadlineIsRefusedAtOnce) {
  Create({.name = "model 'm'", .limits = {.max_rows = 1}});
  batcher->cost_model().Observe(1, 10 * kMilli);
  AdmitWithin(100 * kMilli);
  Submit();
  BatchItem& late = Submit(1, clock.Now() + 15 * kMilli);
  ASSERT_TRUE(runner.rejected.contains(&late));
  EXPECT_EQ(runner.rejected[&late].message(),
            "model 'm' is busy: the answer would come about 5 ms after the request's deadline; try "
            "again in about 5 ms");
  EXPECT_FALSE(runner.rejected.contains(&Submit(1, clock.Now() + 25 * kMilli)));
  scheduler.RunAll();
}

TEST_F(BatcherControlsTest, AnIdleModelTakesWhateverComes) {
  Create({.limits = {.max_rows = 1}});
  batcher->cost_model().Observe(1, 50 * kMilli);
  AdmitWithin(kMilli);
  Submit();
  EXPECT_THAT(runner.rejected, IsEmpty());
  scheduler.RunAll();
  EXPECT_EQ(runner.ran.size(), 1U);
}

TEST_F(BatcherControlsTest, LessImportantRequestsDoNotStandInTheWay) {
  Create({.limits = {.max_rows = 1}});
  batcher->cost_model().Observe(1, 10 * kMilli);
  AdmitWithin(20 * kMilli);
  Submit(1, 0, 5);
  Submit(1, 0, 5);
  EXPECT_TRUE(runner.rejected.contains(&Submit(1, 0, 5)));
  EXPECT_FALSE(runner.rejected.contains(&Submit(1, 0, 1)));
  scheduler.RunAll();
}

TEST_F(BatcherControlsTest, SaysWhyABatchWasClosed) {
  Create({.limits = {.max_rows = 2, .max_delay_ns = 5 * kMilli}});
  Submit();
  Submit();
  scheduler.RunAll();
  Submit();
  clock.Advance(5 * kMilli);
  scheduler.RunTimers(clock.Now());
  scheduler.RunAll();
  Set([](BatchControls& controls) { controls.max_delay_ns = 0; });
  Submit();
  scheduler.RunAll();
  EXPECT_EQ(items[0].closed, BatchClosed::kFull);
  EXPECT_EQ(items[1].closed, BatchClosed::kFull);
  EXPECT_EQ(items[2].closed, BatchClosed::kAge);
  EXPECT_EQ(items[3].closed, BatchClosed::kNoDelay);
}

TEST_F(BatcherControlsTest, TellsTheWaitForCompanyFromTheWaitForAnInstance) {
  Create({.limits = {.max_rows = 3, .max_delay_ns = 5 * kMilli}});
  Submit();  // waits for company ...
  clock.Advance(2 * kMilli);
  Submit();
  clock.Advance(kMilli);
  Submit();                   // ... until the batch is full
  clock.Advance(7 * kMilli);  // a worker comes
  int runs = 0;
  runner.during_run = [&] {
    if (runs++ == 0) Submit();  // the instance is busy
    clock.Advance(4 * kMilli);
  };
  scheduler.RunAll();
  clock.Advance(kMilli);  // 5 ms old: 1 ms of it with a free instance
  scheduler.RunTimers(clock.Now());
  scheduler.RunAll();
  EXPECT_EQ(items[0].formation_ns, 3 * kMilli);
  EXPECT_EQ(items[1].formation_ns, kMilli);
  EXPECT_EQ(items[2].formation_ns, 0);
  EXPECT_EQ(items[0].times[Stage::kQueue], 3 * kMilli);
  EXPECT_EQ(items[0].times[Stage::kSchedule], 7 * kMilli);
  EXPECT_EQ(items[3].times[Stage::kQueue], 5 * kMilli);
  EXPECT_EQ(items[3].formation_ns, kMilli);
}

TEST(BatcherControlsThreadsTest, MayBeSetWhileRequestsComeAndRun) {
  const SystemClock clock{};
  RecordingRunner runner;
  const auto scheduler = CreateTbbScheduler({.workers = 3, .io_threads = 1}, clock);
  DynamicBatcher batcher({.limits = {.max_rows = 4}, .instances = 3, .max_queue_requests = 64},
                         runner, *scheduler, clock);
  constexpr int kItems = 4'000;
  std::atomic<bool> done{false};
  std::thread setter([&] {
    for (int i = 0; !done.load(); ++i) {
      batcher.SetControls({.max_rows = 1 + i % 4,
                           .max_delay_ns = (i % 3) * 10'000,
                           .instances = 1 + i % 3,
                           .max_queue_requests = 16 + i % 48,
                           .admit_within_ns = (i % 2) * 200'000});
    }
  });
  std::deque<BatchItem> items;
  for (int i = 0; i < kItems; ++i) {
    BatchItem& item = items.emplace_back();
    item.rows = 1 + i % 4;
    item.received_ns = clock.Now();
    BatchItem* const one[] = {&item};
    batcher.Submit(one, false);
  }
  done = true;
  setter.join();
  batcher.Drain();
  EXPECT_EQ(runner.ran.size() + runner.rejected.size(), size_t{kItems});
  for (const int64_t rows : runner.batches) EXPECT_LE(rows, 4);
}

}  // namespace
}  // namespace bitmill
