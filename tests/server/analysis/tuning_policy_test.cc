#include "server/analysis/tuning_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bitmill {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMilli = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;
constexpr ServiceLine kLine{.a_ms = 1, .b_ms = 1, .relative_error = 0.02, .samples = 100};

// `per_second` requests of one row a second, evenly, for a second, each computed in 2 ms.
ModelWindow Window(int per_second, const ModelControls& controls, double p99_ms) {
  ModelWindow window;
  window.controls = window.configured = controls;
  window.objective.p99_ms = p99_ms;
  window.begin_ns = 10 * kSecond;
  window.end_ns = 11 * kSecond;
  for (int i = 0; i < per_second; ++i) {
    RequestRecord record;
    record.received_ns = window.begin_ns + i * (kSecond / per_second);
    record.total_ns = 3 * kMilli;
    record.stages[Stage::kCompute] = 2 * kMilli;
    record.rows = record.batch_rows = 1;
    window.requests.push_back(record);
  }
  return window;
}

TEST(LargestBatchInTimeTest, LeavesTimeForTheRunBefore) {
  // S(n) = 1 + n; one instance: 2 S(n) <= 20.
  EXPECT_EQ(LargestBatchInTime(kLine, 20 * kMilli, 1, 64), 9);
  // Two instances: a free one comes after half a run, 1.5 S(n) <= 20.
  EXPECT_EQ(LargestBatchInTime(kLine, 20 * kMilli, 2, 64), 12);
  EXPECT_EQ(LargestBatchInTime(kLine, 20 * kMilli, 1, 4), 4);
  EXPECT_EQ(LargestBatchInTime(kLine, kMilli, 1, 64), 1) << "nothing is in time";
  EXPECT_EQ(LargestBatchInTime({.a_ms = 1, .b_ms = 0}, 20 * kMilli, 1, 64), 64);
}

TEST(TuningCaseTest, IsNoneWithoutAnObjectiveOrEnoughToSee) {
  EXPECT_FALSE(MakeTuningCase(Window(500, {}, 0), kLine, 1));
  EXPECT_FALSE(MakeTuningCase(Window(20, {}, 10), kLine, 1));
  EXPECT_FALSE(MakeTuningCase(Window(500, {}, 10), {.a_ms = 1, .b_ms = 1, .samples = 3}, 1));
  EXPECT_TRUE(MakeTuningCase(Window(500, {}, 10), kLine, 1));
}

TEST(TuningCaseTest, LeavesOutWhatIsNeitherQueueNorExecution) {
  const auto question = MakeTuningCase(Window(500, {.max_rows = 32}, 10), kLine, 1);
  EXPECT_EQ(question->target_ns, 9 * kMilli);  // 3 ms in all, 2 of them computing
  EXPECT_DOUBLE_EQ(question->offered_rows_per_s, 500);
}

TEST(TuningCaseTest, StaysWithinWhatIsConfiguredAndTheCpus) {
  const auto question = MakeTuningCase(Window(500, {.max_rows = 32, .instances = 1}, 20), kLine, 4);
  EXPECT_EQ(question->bounds.max_rows, 32);
  EXPECT_EQ(question->bounds.instances, 1);
  ModelWindow wide = Window(500, {.max_rows = 32, .instances = 1}, 20);
  wide.configured.instances = 8;
  EXPECT_EQ(MakeTuningCase(wide, kLine, 3.5)->bounds.instances, 4);
}

TEST(TuningCaseTest, ASampleStandsForAllOfItsKind) {
  ModelWindow window = Window(200, {.max_rows = 32}, 20);
  window.request_weight = 4;
  const auto question = MakeTuningCase(window, kLine, 1);
  EXPECT_EQ(question->recent.size(), 800U);
  EXPECT_DOUBLE_EQ(question->offered_rows_per_s, 800);
  EXPECT_EQ(question->recent[1].arrive_ns - question->recent[0].arrive_ns, kSecond / 800);
}

TEST(ProposeTest, AdmitsOnlyWhatCanBeInTimeWhenMoreComesThanCanBeServed) {
  // A run of 9 takes 10 ms: 900 rows/s at 20 ms; 2,000 come.
  ModelWindow window = Window(2'000, {.max_rows = 32}, 20);
  const auto question = MakeTuningCase(window, kLine, 1);
  const auto proposal = Propose(*question, window.controls, {}, 0.03);
  ASSERT_TRUE(proposal);
  EXPECT_EQ(proposal->control, Control::kAdmitWithin);
  EXPECT_GT(proposal->to, 10.0 * kMilli);
  EXPECT_LE(proposal->to, 20.0 * kMilli);
  EXPECT_EQ(proposal->from, 0);
  EXPECT_EQ(proposal->controls.max_rows, 32) << "one change at a time";
  EXPECT_GT(proposal->after.good_rows_per_s, 2 * proposal->before.good_rows_per_s);
  EXPECT_THAT(proposal->reason, HasSubstr("admit_within from 0.00 ms to "));
}

TEST(ProposeTest, PreparesForAnOverloadThatIsNotThereYet) {
  ModelWindow window = Window(200, {.max_rows = 32}, 20);
  const auto question = MakeTuningCase(window, kLine, 1);
  const auto proposal = Propose(*question, window.controls, {}, 0.03);
  ASSERT_TRUE(proposal);
  EXPECT_EQ(proposal->control, Control::kAdmitWithin);
  EXPECT_GT(proposal->after.stress_rows_per_s, proposal->before.stress_rows_per_s * 1.2);
}

TEST(ProposeTest, RaisesASmallBatchBoundThatCostsCapacity) {
  ModelWindow window = Window(2'000, {.max_rows = 1, .admit_within_ns = 17 * kMilli}, 20);
  window.configured.max_rows = 32;
  const auto question = MakeTuningCase(window, kLine, 1);
  const auto proposal = Propose(*question, window.controls, {}, 0.03);
  ASSERT_TRUE(proposal);
  EXPECT_EQ(proposal->control, Control::kMaxRows);
  EXPECT_GT(proposal->to, 5);
  EXPECT_LE(proposal->to, 32);
}

TEST(ProposeTest, DropsADelayThatDoesNotPay) {
  const ModelControls controls{
      .max_rows = 32, .max_delay_ns = 15 * kMilli, .admit_within_ns = 17 * kMilli};
  ModelWindow window = Window(100, controls, 20);
  const auto question = MakeTuningCase(window, kLine, 1);
  const auto proposal = Propose(*question, window.controls, {}, 0.03);
  ASSERT_TRUE(proposal);
  EXPECT_EQ(proposal->control, Control::kMaxDelay);
  EXPECT_EQ(proposal->to, 0);
}

TEST(ProposeTest, UsesAnInstanceThatIsThere) {
  ModelWindow window =
      Window(1'200, {.max_rows = 32, .instances = 1, .admit_within_ns = 17 * kMilli}, 20);
  window.configured.instances = 2;
  const auto question = MakeTuningCase(window, kLine, 2);
  const auto proposal = Propose(*question, window.controls, {}, 0.03);
  ASSERT_TRUE(proposal);
  EXPECT_EQ(proposal->control, Control::kInstances);
  EXPECT_EQ(proposal->to, 2);
}

TEST(ProposeTest, LeavesABarredControlAlone) {
  ModelWindow window = Window(2'000, {.max_rows = 32}, 20);
  const auto question = MakeTuningCase(window, kLine, 1);
  ControlSet barred{};
  barred[static_cast<size_t>(Control::kAdmitWithin)] = true;
  const auto proposal = Propose(*question, window.controls, barred, 0.03);
  ASSERT_TRUE(proposal) << "a short queue helps too";
  EXPECT_EQ(proposal->control, Control::kMaxQueueRequests);
  barred.fill(true);
  EXPECT_FALSE(Propose(*question, window.controls, barred, 0.0));
}

TEST(ProposeTest, LeavesGoodSettingsAlone) {
  for (const int per_second : {100, 600, 2'000}) {
    ModelWindow window = Window(per_second, {.max_rows = 32}, 20);
    int changes = 0;
    for (; changes < 6; ++changes) {
      const auto question = MakeTuningCase(window, kLine, 1);
      const auto proposal = Propose(*question, window.controls, {}, 0.03);
      if (!proposal) break;
      window.controls = proposal->controls;
    }
    EXPECT_LE(changes, 3) << per_second;
    EXPECT_GT(window.controls.admit_within_ns, 0) << per_second;
  }
}

TEST(FitContentionTest, FindsHowMuchRunsHinderOneAnother) {
  // Every second run of 10 ms has another beside it for its whole time, and takes 15.
  ModelWindow window;
  MonotonicNanos at = 0;
  for (int i = 0; i < 40; ++i) {
    ExecutionRecord run;
    run.rows = 9;
    run.start_ns = at;
    run.compute_ns = (i % 2 == 0 ? 10 : 15) * kMilli;
    window.executions_seen.push_back(run);
    if (i % 2 == 1) window.executions_seen.push_back(run);
    at += 20 * kMilli;
  }
  double beside = 0;
  EXPECT_NEAR(FitContention(window, kLine, &beside), 0.5, 0.01);
  EXPECT_NEAR(beside, 2.0 / 3, 0.01);
  window.execution_weight = 2;  // a sample: others may have been beside
  EXPECT_EQ(FitContention(window, kLine, &beside), 0);
}

TEST(GoodputTest, CountsRowsThatWereAnsweredInTime) {
  ModelWindow window = Window(100, {}, 10);
  window.requests[0].total_ns = 11 * kMilli;
  window.requests[1].code = 8;
  window.requests[2].rows = 5;
  EXPECT_DOUBLE_EQ(GoodRowsPerSecond(window), 102);
  EXPECT_DOUBLE_EQ(OfferedRowsPerSecond(window), 104);
}

}  // namespace
}  // namespace bitmill
