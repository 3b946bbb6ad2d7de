#include "server/analysis/queue_replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace bitmill {
namespace {

constexpr int64_t kMilli = 1'000'000;
constexpr ServiceLine kTenMillis{.a_ms = 10, .b_ms = 0};

std::vector<ReplayRequest> Every(int64_t period_ns, int count) {
  std::vector<ReplayRequest> requests;
  for (int i = 0; i < count; ++i) requests.push_back({.arrive_ns = i * period_ns});
  return requests;
}

TEST(QueueReplayTest, AnIdleInstanceStartsAtOnceAndABusyOneGathersABatch) {
  const auto requests = Every(4 * kMilli, 4);  // at 0, 4, 8 and 12 ms
  const ReplayResult result =
      Replay(requests, {.max_rows = 8, .instances = 1}, ServiceTimeOf(kTenMillis));
  ASSERT_EQ(result.executions.size(), 3U);
  EXPECT_EQ(result.executions[0].rows, 1);
  EXPECT_EQ(result.executions[1].rows, 2);  // those of 4 and 8 ms, at 10
  EXPECT_EQ(result.executions[1].start_ns, 10 * kMilli);
  EXPECT_EQ(result.executions[2].start_ns, 20 * kMilli);
  EXPECT_EQ(result.requests[1].latency_ns, 16 * kMilli);
  EXPECT_EQ(result.requests[1].queue_ns, 6 * kMilli);
  EXPECT_EQ(result.requests[1].formation_ns, 0);  // nothing was free
  EXPECT_EQ(result.requests[3].latency_ns, 18 * kMilli);
}

TEST(QueueReplayTest, ADelayMakesBatchesWaitForCompanyWhileAnInstanceIsFree) {
  const auto requests = Every(3 * kMilli, 3);  // at 0, 3 and 6 ms
  ModelControls controls{.max_rows = 8, .max_delay_ns = 5 * kMilli, .instances = 1};
  std::vector<ReplayRequest> and_later = requests;
  and_later.push_back({.arrive_ns = 100 * kMilli});
  const ReplayResult result = Replay(and_later, controls, ServiceTimeOf(kTenMillis));
  EXPECT_EQ(result.executions[0].start_ns, 5 * kMilli);
  EXPECT_EQ(result.executions[0].rows, 2);
  EXPECT_EQ(result.executions[0].closed, BatchClosed::kAge);
  EXPECT_EQ(result.requests[0].formation_ns, 5 * kMilli);
  EXPECT_EQ(result.requests[1].formation_ns, 2 * kMilli);
  EXPECT_EQ(result.requests[0].latency_ns, 15 * kMilli);
}

TEST(QueueReplayTest, InstancesRunSideBySide) {
  const auto requests = Every(1, 4);
  const ReplayResult two =
      Replay(requests, {.max_rows = 1, .instances = 2}, ServiceTimeOf(kTenMillis));
  EXPECT_EQ(two.executions.back().end_ns, 20 * kMilli + 1);
  EXPECT_NE(two.executions[0].instance, two.executions[1].instance);
}

TEST(QueueReplayTest, AFullQueueRefusesAndADeadlineExpires) {
  std::vector<ReplayRequest> requests = Every(1, 4);
  requests[1].deadline_ns = 5 * kMilli;
  const ReplayResult result =
      Replay(requests, {.max_rows = 1, .instances = 1, .max_queue_requests = 2},
             ServiceTimeOf(kTenMillis));
  EXPECT_EQ(result.requests[0].fate, ReplayFate::kAnswered);
  EXPECT_EQ(result.requests[1].fate, ReplayFate::kExpired);
  EXPECT_EQ(result.requests[2].fate, ReplayFate::kAnswered);
  EXPECT_EQ(result.requests[3].fate, ReplayFate::kRefused);
  EXPECT_EQ(result.GoodRows(requests, 0), 2);
  EXPECT_EQ(result.GoodRows(requests, 15 * kMilli), 1);
}

TEST(QueueReplayTest, AdmissionRefusesWhatWouldBeLate) {
  const auto requests = Every(1, 4);  // would be answered after 10, 20, 30 and 40 ms
  const ReplayResult result =
      Replay(requests, {.max_rows = 1, .instances = 1, .admit_within_ns = 25 * kMilli},
             ServiceTimeOf(kTenMillis));
  EXPECT_EQ(result.requests[1].fate, ReplayFate::kAnswered);
  EXPECT_EQ(result.requests[2].fate, ReplayFate::kRefused);
  EXPECT_EQ(result.requests[3].fate, ReplayFate::kRefused);
}

TEST(QueueReplayTest, AdmissionKeepsABatchFromBeingStretchedBeyondItsFirst) {
  // S(n) = 10 n. One runs from 0 to 10 ms; what comes at 1 ms would be answered at 20, 30, 40, 50.
  std::vector<ReplayRequest> requests = {{.arrive_ns = 0}};
  for (int i = 0; i < 3; ++i) requests.push_back({.arrive_ns = kMilli});
  requests.push_back({.arrive_ns = 9 * kMilli});  // itself in time at 50 ms: but not the others
  const ReplayResult result =
      Replay(requests, {.max_rows = 8, .instances = 1, .admit_within_ns = 41 * kMilli},
             ServiceTimeOf({.a_ms = 0, .b_ms = 10}));
  EXPECT_EQ(result.requests[3].fate, ReplayFate::kAnswered);
  EXPECT_EQ(result.requests[3].latency_ns, 39 * kMilli);
  EXPECT_EQ(result.requests[4].fate, ReplayFate::kRefused);
}

TEST(QueueReplayTest, TheLoadOfAnMD1QueueGivesItsMeanWait) {
  // Regular batches of one, deterministic service at 80 % load with exponential gaps: the mean wait
  // of M/D/1 is rho / (2 (1 - rho)) services = 2 services.
  std::vector<ReplayRequest> requests;
  uint64_t state = 1;
  double at = 0;
  for (int i = 0; i < 200'000; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const double uniform = (static_cast<double>(state >> 11) + 0.5) / 9007199254740992.0;
    at += -std::log(uniform) * 1e6 / 0.8;
    requests.push_back({.arrive_ns = static_cast<int64_t>(at)});
  }
  const ReplayResult result =
      Replay(requests, {.max_rows = 1, .instances = 1, .max_queue_requests = 1'000'000},
             ServiceTimeOf({.a_ms = 1}));
  EXPECT_NEAR(result.MeanLatencyNanos() / 1e6, 3.0, 0.1);
}

}  // namespace
}  // namespace bitmill
