#include "server/schedule/tbb_scheduler.h"

#include <gtest/gtest.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

namespace bitmill {
namespace {

class TbbSchedulerTest : public ::testing::Test {
 protected:
  const SystemClock clock{};
  const std::shared_ptr<Flow> flow = std::make_shared<Flow>();
};

TEST_F(TbbSchedulerTest, RunsWorkOnAnotherThread) {
  std::promise<std::thread::id> worker;
  const auto scheduler = CreateTbbScheduler({.workers = 1, .io_threads = 1}, clock);
  scheduler->Enqueue(flow, [&worker] { worker.set_value(std::this_thread::get_id()); });
  EXPECT_NE(worker.get_future().get(), std::this_thread::get_id());
}

// Each piece of work waits for the other: with fewer workers than asked for this would not end.
TEST_F(TbbSchedulerTest, HasAllItsWorkersWhateverTheNumberOfCpus) {
  constexpr int kWorkers = 6;
  std::atomic<int> here{0};
  std::promise<void> all;
  const auto scheduler = CreateTbbScheduler({.workers = kWorkers, .io_threads = 1}, clock);
  EXPECT_EQ(scheduler->concurrency(), kWorkers);
  for (int i = 0; i < kWorkers; ++i) {
    scheduler->Enqueue(flow, [&] {
      if (here.fetch_add(1) + 1 == kWorkers) all.set_value();
      while (here.load() < kWorkers) std::this_thread::yield();
    });
  }
  EXPECT_EQ(all.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
}

TEST_F(TbbSchedulerTest, RunsInlineOnTheCallerEvenWhenAllWorkersAreBusy) {
  std::promise<void> begun;  // these outlive the work
  std::promise<void> release;
  const auto scheduler = CreateTbbScheduler({.workers = 1, .io_threads = 1}, clock);
  scheduler->Enqueue(flow, [&] {
    begun.set_value();
    release.get_future().wait();
  });
  begun.get_future().wait();
  std::thread::id ran;
  int width = 0;
  scheduler->RunInline([&] {
    ran = std::this_thread::get_id();
    width = tbb::this_task_arena::max_concurrency();
  });
  EXPECT_EQ(ran, std::this_thread::get_id());
  EXPECT_EQ(width, 2) << "a parallel algorithm inside sees the whole pool";
  release.set_value();
}

TEST_F(TbbSchedulerTest, RunsLaterWorkNotBeforeItsTime) {
  std::promise<MonotonicNanos> ran;
  const auto scheduler = CreateTbbScheduler({.workers = 1, .io_threads = 1}, clock);
  const MonotonicNanos when = clock.Now() + 5'000'000;
  scheduler->EnqueueAt(when, [&] { ran.set_value(clock.Now()); });
  EXPECT_GE(ran.get_future().get(), when);
}

TEST_F(TbbSchedulerTest, FinishesEverythingBeforeItGoes) {
  std::atomic<int> finished{0};
  {
    const auto scheduler = CreateTbbScheduler({.workers = 2, .io_threads = 1}, clock);
    for (int i = 0; i < 100; ++i) scheduler->Enqueue(flow, [&finished] { ++finished; });
  }
  EXPECT_EQ(finished, 100);
}

TEST_F(TbbSchedulerTest, FlowsShareTheWorkersByTime) {
  std::promise<void> begun;  // these outlive the work
  std::promise<void> release;
  std::string order;
  const auto quick = std::make_shared<Flow>();
  {
    const auto scheduler = CreateTbbScheduler({.workers = 1, .io_threads = 1}, clock);
    EXPECT_FALSE(scheduler->contended());
    scheduler->Enqueue(flow, [&] {
      begun.set_value();
      release.get_future().wait();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    });
    begun.get_future().wait();
    EXPECT_FALSE(scheduler->contended()) << "what runs does not wait";
    for (int i = 0; i < 3; ++i) scheduler->Enqueue(flow, [&] { order += 's'; });
    scheduler->Enqueue(quick, [&] { order += 'q'; });
    EXPECT_TRUE(scheduler->contended());
    release.set_value();
  }
  EXPECT_EQ(order, "qsss") << "the slow flow has had its 20 ms";
}

// Any one round may pass without help, when the helper has just gone.
TEST_F(TbbSchedulerTest, IdleWorkersHelpAComputation) {
  const auto scheduler = CreateTbbScheduler({.workers = 2, .io_threads = 1}, clock);
  ForkJoin& helpers = scheduler->helpers();
  EXPECT_EQ(helpers.width(), 2);
  const int place = helpers.Enter(2);
  const auto caller = std::this_thread::get_id();
  const MonotonicNanos give_up = clock.Now() + 60'000'000'000;
  int helped = 0;
  while (helped < 20 && clock.Now() < give_up) {
    std::atomic<bool> came{false};
    std::thread::id helper = caller;
    const MonotonicNanos end = clock.Now() + 20'000'000;
    helpers.Call(place, 2);
    helpers.Run(place, 2, [&](int slot) {
      if (slot == 1) {
        helper = std::this_thread::get_id();
        came.store(true);
      }
      while (!came.load() && clock.Now() < end) std::this_thread::yield();
    });
    if (!came.load()) continue;
    EXPECT_NE(helper, caller);
    ++helped;
  }
  EXPECT_EQ(helped, 20);
  helpers.Leave(place);
}

TEST_F(TbbSchedulerTest, EnqueuedWorkComesBeforeHelp) {
  std::promise<void> ran;
  const auto scheduler = CreateTbbScheduler({.workers = 1, .io_threads = 1}, clock);
  ForkJoin& helpers = scheduler->helpers();
  // One worker, which waits near the computation, has to go for this.
  const int place = helpers.Enter(2);
  scheduler->Enqueue(flow, [&] { ran.set_value(); });
  EXPECT_EQ(ran.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  helpers.Leave(place);
}

TEST_F(TbbSchedulerTest, BusyWorkersAreNotAskedForHelp) {
  std::promise<void> begun;
  std::promise<void> release;
  const auto scheduler = CreateTbbScheduler({.workers = 1, .io_threads = 1}, clock);
  scheduler->Enqueue(flow, [&] {
    begun.set_value();
    release.get_future().wait();
  });
  begun.get_future().wait();
  ForkJoin& helpers = scheduler->helpers();
  const int place = helpers.Enter(2);
  EXPECT_FALSE(helpers.Call(place, 2));
  EXPECT_FALSE(helpers.Call(-1, 2)) << "without a place nobody is called";
  int calls = 0;
  for (int round = 0; round < 100; ++round) helpers.Run(place, 2, [&](int) { ++calls; });
  EXPECT_EQ(calls, 100);
  helpers.Leave(place);
  release.set_value();
}

TEST_F(TbbSchedulerTest, HelpersGoWhenTheComputationEnds) {
  const auto scheduler = CreateTbbScheduler({.workers = 2, .io_threads = 1}, clock);
  ForkJoin& helpers = scheduler->helpers();
  const int place = helpers.Enter(2);
  EXPECT_TRUE(helpers.Call(place, 2));
  helpers.Run(place, 2, [](int) {});
  helpers.Leave(place);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const int64_t before = ProcessCpuNanos();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(ProcessCpuNanos() - before, 30'000'000) << "somebody spins";
}

}  // namespace
}  // namespace bitmill
