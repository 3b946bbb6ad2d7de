#include "server/analysis/thread_waits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "tests/server/analysis/fake_host.h"

namespace bitmill {
namespace {

class ThreadWaitsTest : public ::testing::Test {
 protected:
  int64_t Total(int64_t threads) {
    waits_.Update(threads, host_.buffer());
    return waits_.total_ns();
  }

  FakeHost host_;
  ThreadWaits waits_{host_.root()};
};

TEST_F(ThreadWaitsTest, AddsUpAllThreads) {
  host_.PutThread(10, 100);
  host_.PutThread(11, 200);
  EXPECT_EQ(Total(2), 300);
  host_.PutThread(10, 150);
  EXPECT_EQ(Total(2), 350);
}

TEST_F(ThreadWaitsTest, CountsANewThreadFromItsBeginning) {
  host_.PutThread(10, 100);
  EXPECT_EQ(Total(1), 100);
  host_.PutThread(9, 40);
  host_.PutThread(12, 5);
  EXPECT_EQ(Total(3), 145);
  EXPECT_EQ(waits_.watched(), 3U);
}

TEST_F(ThreadWaitsTest, ThreadsThatHardlyRunWhileOthersDoStarve) {
  constexpr int64_t kMilli = 1'000'000;
  int64_t run_ms[3] = {7000, 7000, 7000}, wait_ms[3] = {9000, 9000, 9000};  // before; whatever
  const auto starved_ms = [&](std::initializer_list<std::pair<int64_t, int64_t>> newly) {
    int i = 0;
    const int64_t before = waits_.starved_ns();
    for (const auto& [run, wait] : newly) {
      run_ms[i] += run;
      wait_ms[i] += wait;
      host_.PutThread(10 + i, wait_ms[i] * kMilli, run_ms[i] * kMilli);
      ++i;
    }
    Total(3);
    return (waits_.starved_ns() - std::max<int64_t>(before, 0)) / kMilli;
  };
  EXPECT_EQ(waits_.starved_ns(), -1);
  EXPECT_EQ(starved_ms({{0, 0}, {0, 0}, {0, 0}}), 0) << "a thread's past says nothing";
  // One has 4 % of the time that it wants, the best 80 %: 760 of 1000 ms too little.
  EXPECT_EQ(starved_ms({{320, 80}, {260, 400}, {40, 960}}), 760);
  EXPECT_EQ(starved_ms({{320, 80}, {260, 400}, {300, 700}}), 0) << "a fair share";
  EXPECT_EQ(starved_ms({{40, 960}, {50, 450}, {0, 0}}), 0) << "none has a CPU";
  EXPECT_EQ(starved_ms({{1, 0}, {0, 300}, {0, 0}}), 0) << "who runs next to nothing is no measure";
}

TEST_F(ThreadWaitsTest, KeepsWhatAThreadWaitedBeforeItEnded) {
  host_.PutThread(10, 100);
  host_.PutThread(11, 200);
  EXPECT_EQ(Total(2), 300);
  host_.Remove("/proc/self/task/11");
  EXPECT_EQ(Total(1), 300);
  EXPECT_EQ(waits_.watched(), 1U);
  host_.PutThread(10, 101);
  EXPECT_EQ(Total(1), 301);
}

// The number of threads stays the same when one ends and another begins.
TEST_F(ThreadWaitsTest, SeesAThreadReplaced) {
  host_.PutThread(10, 100);
  host_.PutThread(11, 200);
  EXPECT_EQ(Total(2), 300);
  host_.Put("/proc/self/task/11/schedstat", "");  // as the kernel does, a file that says nothing
  host_.Remove("/proc/self/task/11");
  host_.PutThread(12, 7);
  EXPECT_EQ(Total(2), 307);
  EXPECT_EQ(waits_.watched(), 2U);
}

TEST_F(ThreadWaitsTest, TheSameNumberAgainIsAnotherThread) {
  host_.PutThread(10, 100);
  EXPECT_EQ(Total(1), 100);
  host_.Put("/proc/self/task/10/schedstat", "");
  host_.Remove("/proc/self/task/10");
  host_.PutThread(10, 30);
  EXPECT_EQ(Total(1), 130);
}

TEST_F(ThreadWaitsTest, ACounterThatGoesBackTakesNothingAway) {
  host_.PutThread(10, 100);
  EXPECT_EQ(Total(1), 100);
  host_.PutThread(10, 20);
  EXPECT_EQ(Total(1), 100);
  host_.PutThread(10, 25);
  EXPECT_EQ(Total(1), 105);
}

TEST_F(ThreadWaitsTest, IsNotKnownWhereNoThreadTells) {
  EXPECT_EQ(Total(3), -1);
  host_.Put("/proc/self/task/10/schedstat", "garbage\n");
  host_.Put("/proc/self/task/nonsense/schedstat", "1 2 3\n");
  EXPECT_EQ(Total(1), -1);
  EXPECT_EQ(waits_.watched(), 0U);
}

TEST_F(ThreadWaitsTest, ManyThreadsTakeTurnsAndNoneIsForgotten) {
  constexpr int kThreads = 300;
  for (int id = 1; id <= kThreads; ++id) host_.PutThread(id, 0);
  EXPECT_EQ(Total(kThreads), 0);
  for (int id = 1; id <= kThreads; ++id) host_.PutThread(id, 1);
  EXPECT_EQ(Total(kThreads), int64_t{ThreadWaits::kMaxReads});
  for (int turn = 0; turn < 3; ++turn) Total(kThreads);
  EXPECT_EQ(Total(kThreads), kThreads);
}

// A thread's last reading stays until its next turn.
TEST_F(ThreadWaitsTest, WhatAThreadStarvedCountsOnceThoughOthersAreRead) {
  constexpr int kThreads = 150, kUpdatesOfARound = 3;
  constexpr int64_t kMilli = 1'000'000;
  for (int id = 1; id <= kThreads; ++id) host_.PutThread(id, 0, 0);
  for (int update = 0; update < kUpdatesOfARound; ++update) Total(kThreads);
  ASSERT_EQ(waits_.starved_ns(), 0);
  host_.PutThread(1, 1000 * kMilli, 0);
  for (int id = 2; id <= kThreads; ++id) host_.PutThread(id, 0, 100 * kMilli);
  for (int update = 0; update < 3 * kUpdatesOfARound; ++update) Total(kThreads);
  EXPECT_EQ(waits_.starved_ns() / kMilli, 1000);
}

}  // namespace
}  // namespace bitmill
