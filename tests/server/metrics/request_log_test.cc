#include "server/metrics/request_log.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <vector>

#include "server/metrics/in_system.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kSecond = 1'000'000'000;

TEST(RecordRingTest, HandsOverInOrderAndDropsWhatFindsNoRoom) {
  RecordRing<int> ring(4);
  for (int i = 0; i < 6; ++i) ring.Add(i);
  std::vector<int> seen;
  ring.Drain([&seen](int value) { seen.push_back(value); });
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(ring.dropped(), 2);
  ring.Add(7);  // there is room again
  ring.Drain([&seen](int value) { seen.push_back(value); });
  EXPECT_EQ(seen.back(), 7);
  EXPECT_EQ(ring.dropped(), 2);
}

TEST(RecordRingTest, WritersOnManyThreadsLoseNothingThatIsNotCounted) {
  constexpr int kThreads = 4;
  constexpr int kEach = 20'000;
  RecordRing<std::pair<int, int>> ring(256);
  std::atomic<int> running{kThreads};
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t) {
    writers.emplace_back([&ring, &running, t] {
      for (int i = 0; i < kEach; ++i) ring.Add({t, i});
      --running;
    });
  }
  int64_t taken = 0;
  std::map<int, int> last;
  const auto take = [&](const std::pair<int, int>& record) {
    ++taken;
    const auto [place, first] = last.try_emplace(record.first, -1);
    EXPECT_GT(record.second, place->second);  // a thread's records stay in order, each comes once
    place->second = record.second;
  };
  while (running > 0) ring.Drain(take);
  for (std::thread& writer : writers) writer.join();
  ring.Drain(take);
  EXPECT_EQ(taken + ring.dropped(), int64_t{kThreads} * kEach);
  EXPECT_GT(taken, 0);
}

TEST(RequestLogTest, BringsEveryKindFromEveryCpu) {
  RequestLog log(8);
  log.Add(RequestRecord{.total_ns = 5, .model = 3});
  log.Add(ExecutionRecord{.rows = 2, .model = 3});
  log.Add(TurnRecord{.requests = 4, .model = 3});
  int64_t requests = 0;
  int64_t received = 0;
  int64_t rows = 0;
  log.Drain([&](const RequestRecord& record) { requests += record.total_ns; },
            [&](const ExecutionRecord& record) { rows += record.rows; },
            [&](const TurnRecord& record) { received += record.requests; });
  EXPECT_EQ(requests, 5);
  EXPECT_EQ(rows, 2);
  EXPECT_EQ(received, 4);
  EXPECT_EQ(log.dropped(), 0);
}

TEST(InSystemTest, AveragesOverTimeWhoeverIsThere) {
  FakeClock clock;
  InSystem in_system;
  const InSystem::Reading begin = in_system.Read(clock);
  const MonotonicNanos start = clock.Now();
  in_system.Enter(start);
  in_system.Enter(start + kSecond);
  in_system.Leave(start + 3 * kSecond);
  clock.Advance(4 * kSecond);  // 3 s of one and 3 s of the other, which is still there
  const InSystem::Reading middle = in_system.Read(clock);
  EXPECT_EQ(middle.count, 1);
  EXPECT_DOUBLE_EQ(InSystem::Mean(begin, middle), 1.5);
  in_system.Leave(start + 5 * kSecond);
  clock.Advance(2 * kSecond);
  EXPECT_DOUBLE_EQ(InSystem::Mean(middle, in_system.Read(clock)), 0.5);
}

TEST(InSystemTest, HoldsOverHoursOfAMachineThatRanForYears) {
  FakeClock clock;
  clock.Advance(int64_t{3} * 365 * 24 * 3600 * kSecond);
  InSystem in_system;
  const MonotonicNanos start = clock.Now();
  for (int i = 0; i < 1000; ++i) in_system.Enter(start);
  const InSystem::Reading begin = in_system.Read(clock);
  clock.Advance(5 * kSecond);
  EXPECT_DOUBLE_EQ(InSystem::Mean(begin, in_system.Read(clock)), 1000);
}

}  // namespace
}  // namespace bitmill
