#include "server/analysis/window_collector.h"

#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "server/metrics/model_recorder.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kSecond = 1'000'000'000;

class WindowCollectorTest : public testing::Test {
 protected:
  WindowCollectorTest() { collector_.Add(7, metrics_); }

  void Finish(absl::StatusCode code, int32_t rows = 1, MonotonicNanos latency = 1000) {
    const MonotonicNanos now = clock_.Now();
    metrics_.in_system.Enter(now - latency);
    metrics_.in_system.Leave(now);
    log_.Add(RequestRecord{.received_ns = now - latency,
                           .total_ns = latency,
                           .rows = rows,
                           .model = 7,
                           .code = static_cast<uint8_t>(code)});
  }
  ModelWindow Tick() {
    clock_.Advance(kSecond);
    return collector_.Tick().at(7);
  }

  FakeClock clock_;
  RequestLog log_;
  ModelRecorder metrics_{7};
  WindowCollector collector_{{.window_ns = 3 * kSecond, .max_records = 100}, log_, clock_};
};

TEST_F(WindowCollectorTest, CountsByWhatBecameOfTheRequest) {
  Finish(absl::StatusCode::kOk, 4);
  Finish(absl::StatusCode::kOk, 2);
  Finish(absl::StatusCode::kResourceExhausted);
  Finish(absl::StatusCode::kDeadlineExceeded);
  Finish(absl::StatusCode::kInternal);
  log_.Add(ExecutionRecord{.rows = 6, .model = 7});
  const ModelWindow window = Tick();
  EXPECT_EQ(window.answered, 2);
  EXPECT_EQ(window.rows, 6);
  EXPECT_EQ(window.refused, 1);
  EXPECT_EQ(window.expired, 1);
  EXPECT_EQ(window.failed, 1);
  EXPECT_EQ(window.arrived, 5);
  EXPECT_EQ(window.executions, 1);
  EXPECT_EQ(window.tick_arrived, 5);
  EXPECT_EQ(window.tick_arrived_rows, 9);
  EXPECT_DOUBLE_EQ(window.seconds(), 1);
}

TEST_F(WindowCollectorTest, KeepsTheLastSecondsAndTellsTheLastTickApart) {
  Finish(absl::StatusCode::kOk);
  Tick();
  for (int i = 0; i < 2; ++i) Finish(absl::StatusCode::kOk);
  Tick();
  for (int i = 0; i < 3; ++i) Finish(absl::StatusCode::kOk);
  Tick();
  for (int i = 0; i < 4; ++i) Finish(absl::StatusCode::kOk);
  const ModelWindow window = Tick();
  EXPECT_EQ(window.answered, 9);  // the first second is forgotten
  EXPECT_EQ(window.tick_answered, 4);
  EXPECT_DOUBLE_EQ(window.seconds(), 3);
  EXPECT_EQ(window.end_ns - window.tick_begin_ns, kSecond);
}

TEST_F(WindowCollectorTest, CountsArrivalsThatAreNotFinished) {
  for (int i = 0; i < 3; ++i) metrics_.in_system.Enter(clock_.Now());
  Finish(absl::StatusCode::kOk);
  EXPECT_EQ(Tick().tick_arrived, 4);
  metrics_.in_system.Leave(clock_.Now());
  log_.Add(RequestRecord{.rows = 1, .model = 7});
  const ModelWindow window = Tick();
  EXPECT_EQ(window.tick_arrived, 0);
  EXPECT_EQ(window.arrived, 4);
  EXPECT_NEAR(window.mean_in_system, 2.5, 1e-5);  // three for a second, two for another
}

TEST_F(WindowCollectorTest, ThinsOutMoreThanItMayKeepAndSaysTheWeight) {
  for (int i = 0; i < 1000; ++i) {
    clock_.Advance(1000);
    Finish(absl::StatusCode::kOk);
  }
  const ModelWindow window = Tick();
  EXPECT_EQ(window.answered, 1000);
  ASSERT_EQ(window.requests.size(), 100U);
  EXPECT_DOUBLE_EQ(window.request_weight, 10);
  // Evenly over the time.
  EXPECT_EQ(window.requests[50].received_ns - window.requests[49].received_ns, 10'000);
}

TEST(FullRequestLogTest, CountsWhatFoundNoRoomAsThoseThatDid) {
  FakeClock clock;
  RequestLog log(64);
  ModelRecorder metrics(7), other(8);
  WindowCollector collector({.window_ns = 3 * kSecond}, log, clock);
  collector.Add(7, metrics);
  collector.Add(8, other);
  constexpr int kRequests = 30'000;  // more than the logs of all CPUs hold
  for (int i = 0; i < kRequests; ++i) {
    log.Add(RequestRecord{.rows = 2, .model = 7U + static_cast<uint32_t>(i % 2)});
    if (i % 10 == 0) log.Add(ExecutionRecord{.rows = 20, .model = 7});
  }
  ASSERT_GT(log.dropped_requests(), kRequests / 2);
  collector.Collect();
  log.Add(RequestRecord{.rows = 2, .model = 7});
  clock.Advance(kSecond);
  const ModelWindow window = collector.Tick().at(7);
  EXPECT_EQ(window.answered, kRequests / 2 + 1);
  EXPECT_EQ(window.rows, kRequests + 2);
  EXPECT_EQ(window.executions, kRequests / 10);
  EXPECT_EQ(window.tick_arrived, kRequests / 2 + 1);
  EXPECT_NEAR(window.request_weight * static_cast<double>(window.requests.size()),
              kRequests / 2 + 1, 1e-6);
}

TEST_F(WindowCollectorTest, HurriesWhileManyRecordsCome) {
  for (int i = 0; i < 2000; ++i) Finish(absl::StatusCode::kOk);
  Tick();
  EXPECT_TRUE(collector_.hurry());
  Finish(absl::StatusCode::kOk);
  Tick();
  EXPECT_FALSE(collector_.hurry());
}

TEST_F(WindowCollectorTest, BringsTheTurnsOfItsModelByTheirEnd) {
  log_.Add(TurnRecord{.end_ns = 20, .cpu_ns = 2, .requests = 1, .model = 7});
  log_.Add(TurnRecord{.end_ns = 10, .cpu_ns = 1, .requests = 3, .model = 7});
  log_.Add(TurnRecord{.end_ns = 15, .cpu_ns = 9, .requests = 9, .model = 8});
  const ModelWindow window = Tick();
  ASSERT_EQ(window.turns.size(), 2U);
  EXPECT_EQ(window.turns[0].requests, 3);
  EXPECT_EQ(window.turns[1].cpu_ns, 2);
  Tick();
  Tick();
  EXPECT_TRUE(Tick().turns.empty());
}

TEST_F(WindowCollectorTest, AReloadStartsAfresh) {
  Finish(absl::StatusCode::kOk);
  Tick();
  collector_.Add(7, metrics_);
  Finish(absl::StatusCode::kOk);
  EXPECT_EQ(Tick().answered, 1);
  collector_.Remove(7);
  Finish(absl::StatusCode::kOk);
  EXPECT_TRUE(collector_.Tick().empty());
}

}  // namespace
}  // namespace bitmill
