// One or two instances; an execution of n rows takes 10 + n ms, half as long again beside another.
#include "server/batch/admission.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "server/batch/due_times.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kMilli = 1'000'000;

int64_t Cost(int64_t rows, int beside) { return (10 + rows) * kMilli * (beside > 0 ? 3 : 2) / 2; }

class AdmissionTest : public ::testing::Test {
 protected:
  // Of one row that comes now; queues it when it is admitted. Returns how late it would be, in ms.
  double Ask(double due_ms, int64_t rows = 1) {
    std::vector<MonotonicNanos> free_ns = free;
    for (MonotonicNanos& at : free_ns) at = std::max(at, now);
    const Admission::Server server{.max_rows = max_rows,
                                   .waiting_rows = waiting,
                                   .busy = static_cast<int>(free.size()),
                                   .wake_ns = wake,
                                   .free_ns = absl::MakeSpan(free_ns)};
    const MonotonicNanos late =
        admission.Ask(rows, static_cast<MonotonicNanos>(due_ms * kMilli), server, Cost);
    if (late <= 0) waiting += rows;
    return static_cast<double>(late) / kMilli;
  }
  // So many are admitted of `count` that come now.
  int Admitted(int count, double due_ms) {
    int admitted = 0;
    for (int i = 0; i < count; ++i) admitted += Ask(due_ms) <= 0 ? 1 : 0;
    return admitted;
  }
  int64_t Take(int64_t rows) {
    admission.Take(rows);
    return waiting -= rows;
  }

  Admission admission;
  MonotonicNanos now = 0, wake = 0;
  std::vector<MonotonicNanos> free = {20 * kMilli};  // by instance
  int64_t max_rows = 64, waiting = 0;
};

TEST_F(AdmissionTest, TellsHowLateTheAnswerWouldBe) {
  EXPECT_EQ(Ask(25), 6) << "20 + 11 ms";
  EXPECT_EQ(waiting, 0);
  EXPECT_EQ(Ask(31), 0);
  EXPECT_EQ(Ask(40, 10), 10) << "20 + 21 ms, and who waits is wanted after 31";
}

TEST_F(AdmissionTest, NobodyMakesThoseLateWhoWait) {
  EXPECT_EQ(Ask(33), 0);
  EXPECT_EQ(Ask(33), 0);
  EXPECT_EQ(Ask(40), 0) << "33 ms";
  EXPECT_GT(Ask(40), 0) << "itself in time after 34 ms, but the first two are not";
}

TEST_F(AdmissionTest, WhoIsLateAnywayIsNoReasonToRefuseOthers) {
  EXPECT_EQ(Ask(33), 0);
  EXPECT_EQ(Ask(50), 0);
  free = {30 * kMilli};  // what runs takes longer than it was predicted to
  EXPECT_EQ(Ask(50), 0) << "30 + 13 ms: the first is lost, the second is not";
  EXPECT_EQ(Admitted(20, 60), 7) << "then the second is not to be late";
}

TEST_F(AdmissionTest, AFullBatchIsClosedAndTheNextFollows) {
  max_rows = 4;
  EXPECT_EQ(Admitted(4, 60), 4);
  EXPECT_EQ(admission.closed_rows(), 0);
  EXPECT_EQ(Ask(44), 1) << "20 + 14 + 11 ms";
  EXPECT_EQ(Ask(60), 0);
  EXPECT_EQ(admission.closed_rows(), 4);
  EXPECT_EQ(Take(4), 1);
  EXPECT_EQ(admission.closed_rows(), 0);
}

TEST_F(AdmissionTest, WakingAWorkerTakesItsTime) {
  max_rows = 1;
  wake = 3 * kMilli;
  EXPECT_EQ(Ask(31), 0);
  EXPECT_EQ(Ask(44), 1) << "20 + 11 + 3 + 11 ms";
}

TEST_F(AdmissionTest, ABatchIsClosedForTheSakeOfThoseInItWhenTheNextIsWorthRunning) {
  // Two instances; the second is free at 25 ms. Each batch runs beside another: 15 + 1.5 n ms.
  free = {20 * kMilli, 25 * kMilli};
  EXPECT_EQ(Admitted(10, 50), 10) << "20 + 15 + 1.5 * 10";
  EXPECT_EQ(admission.closed_rows(), 0);
  EXPECT_EQ(Ask(57), 1) << "in the next batch, were it of 12 rows, after 25 + 15 + 1.5 * 12 ms";
  EXPECT_EQ(admission.closed_rows(), 0);
  EXPECT_EQ(Ask(58), 0);
  EXPECT_EQ(admission.closed_rows(), 10);
}

TEST_F(AdmissionTest, UnderOverloadBatchesDoNotBecomeSmallerAndSmaller) {
  // One instance: after a batch of 20 rows there is no time for a larger one.
  EXPECT_EQ(Admitted(100, 50), 20) << "20 + 10 + 20 ms";
  EXPECT_GT(Ask(84), 0) << "50 + 10 + 25 ms";
  EXPECT_EQ(admission.closed_rows(), 0);
}

TEST_F(AdmissionTest, EachRequestIsABatchOfItsOwn) {
  max_rows = 0;
  EXPECT_EQ(Ask(31), 0);
  EXPECT_EQ(Ask(42), 0);
  EXPECT_EQ(Ask(52), 1);
}

TEST_F(AdmissionTest, WhatWasNeverAskedForIsInFullBatches) {
  max_rows = 4;
  waiting = 9;  // 20 + 14 + 14, then two in 12 ms
  EXPECT_EQ(Ask(59), 1);
  EXPECT_EQ(Ask(60), 0);
  EXPECT_EQ(admission.closed_rows(), 4);
}

TEST_F(AdmissionTest, ManyClosedBatchesAreSpreadOverTheInstances) {
  max_rows = 1;
  free = {0, 0};
  EXPECT_EQ(Admitted(100, 16.5 * 50), 100) << "50 executions of 16.5 ms on each of two";
  EXPECT_GT(Ask(16.5 * 50), 0);
}

TEST_F(AdmissionTest, ForgetsWhatLeftTheQueue) {
  max_rows = 4;
  EXPECT_EQ(Admitted(10, 200), 10);
  admission.Trim(waiting = 6);
  EXPECT_EQ(admission.closed_rows(), 4);
  Take(4);
  EXPECT_EQ(admission.closed_rows(), 2);
  admission.Trim(waiting = 0);
  EXPECT_EQ(admission.closed_rows(), 0);
  EXPECT_EQ(Ask(31), 0);
}

TEST_F(AdmissionTest, LeavesAMarginWhereManyAreLate) {
  EXPECT_EQ(Ask(31), 0) << "20 + 11 ms";
  Take(1);
  admission.Learn(100, 100, 31 * kMilli);
  const auto margin_ms = static_cast<double>(admission.margin_ns()) / kMilli;
  EXPECT_NEAR(margin_ms, 0.098 * 31, 1e-3);
  EXPECT_NEAR(Ask(31), margin_ms, 1e-3);
  EXPECT_EQ(Ask(35), 0);
  EXPECT_NEAR(Ask(32 + margin_ms - 0.5), 0.5, 1e-3) << "20 + 12 ms, in the batch of the other";
}

TEST_F(AdmissionTest, TheMarginStaysWhereOneOfFiftyIsLateAndHasBounds) {
  admission.Learn(40, 40, 30 * kMilli);
  const MonotonicNanos margin = admission.margin_ns();
  admission.Learn(1, 50, 30 * kMilli);
  EXPECT_NEAR(static_cast<double>(admission.margin_ns()), static_cast<double>(margin), 1);
  admission.Learn(0, 50, 30 * kMilli);
  EXPECT_LT(admission.margin_ns(), margin);
  admission.Learn(0, 100'000, 30 * kMilli);
  EXPECT_EQ(admission.margin_ns(), 0);
  admission.Learn(100'000, 100'000, 30 * kMilli);
  EXPECT_EQ(admission.margin_ns(), 10 * kMilli);
  admission.Learn(1, 1, 0);
  EXPECT_EQ(admission.margin_ns(), 0) << "nobody is asked any more";
}

TEST(DueTimesTest, GiveTheEarliestThatCanStillBeKept) {
  DueTimes dues;
  EXPECT_EQ(dues.EarliestInTime(0), DueTimes::kNone);
  for (const MonotonicNanos due : {30, 10, 20}) dues.Add(due);
  EXPECT_EQ(dues.EarliestInTime(5), 10);
  EXPECT_EQ(dues.EarliestInTime(10), 10);
  EXPECT_EQ(dues.EarliestInTime(11), 20);
  EXPECT_EQ(dues.EarliestInTime(5), 20) << "forgotten";
  dues.Clear();
  EXPECT_EQ(dues.EarliestInTime(0), DueTimes::kNone);
}

}  // namespace
}  // namespace bitmill
