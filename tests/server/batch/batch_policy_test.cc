#include "server/batch/batch_policy.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace bitmill {
namespace {

constexpr MonotonicNanos kMicrosecond = 1'000;
constexpr MonotonicNanos kStart = 1'000'000'000;

TEST(BatchPolicyTest, NeverWaitsForCompanyWithoutADelay) {
  const BatchLimits limits{.max_rows = 8};
  const BatchDecision decision = Decide(limits, {.rows = 1, .oldest_ns = kStart}, kStart);
  EXPECT_TRUE(decision.close);
  EXPECT_EQ(decision.rows, 8);
  EXPECT_EQ(decision.reason, CloseReason::kNoDelay);
}

TEST(BatchPolicyTest, DoesNothingForAnEmptyQueue) {
  const BatchDecision decision = Decide({.max_rows = 8, .max_delay_ns = 5}, {}, kStart);
  EXPECT_FALSE(decision.close);
  EXPECT_EQ(decision.wait_until, 0);
}

TEST(BatchPolicyTest, ClosesOnceTheOldestTaskHasWaitedMaxDelay) {
  const BatchLimits limits{.max_rows = 8, .max_delay_ns = 500 * kMicrosecond};
  const QueueState queue{.rows = 3, .oldest_ns = kStart};
  const BatchDecision early = Decide(limits, queue, kStart + 499 * kMicrosecond);
  EXPECT_FALSE(early.close);
  EXPECT_EQ(early.wait_until, kStart + 500 * kMicrosecond);
  const BatchDecision due = Decide(limits, queue, kStart + 500 * kMicrosecond);
  EXPECT_TRUE(due.close);
  EXPECT_EQ(due.reason, CloseReason::kAge);
}

TEST(BatchPolicyTest, ClosesBeforeTheTightestDeadlineIsMissed) {
  const BatchLimits limits{.max_rows = 8, .max_delay_ns = 5'000 * kMicrosecond};
  const QueueState queue{.rows = 3,
                         .oldest_ns = kStart,
                         .tightest_deadline = kStart + 1'000 * kMicrosecond,
                         .predicted_run_ns = 300 * kMicrosecond};
  const BatchDecision early = Decide(limits, queue, kStart + 699 * kMicrosecond);
  EXPECT_FALSE(early.close);
  EXPECT_EQ(early.wait_until, kStart + 700 * kMicrosecond);
  EXPECT_EQ(Decide(limits, queue, kStart + 700 * kMicrosecond).reason, CloseReason::kDeadline);
}

struct Case {
  const char* what;
  BatchLimits limits;
  QueueState queue;
  CloseReason reason;
  int64_t rows;
};

TEST(BatchPolicyTest, ClosesAtRowsBytesPreferredSizesAndWhenDraining) {
  const MonotonicNanos delay = 500 * kMicrosecond;
  const std::vector<Case> cases = {
      {"one short of full",
       {.max_rows = 8, .max_delay_ns = delay},
       {.rows = 7},
       CloseReason::kWait,
       0},
      {"full", {.max_rows = 8, .max_delay_ns = delay}, {.rows = 8}, CloseReason::kFull, 8},
      {"more than full",
       {.max_rows = 8, .max_delay_ns = delay},
       {.rows = 20},
       CloseReason::kFull,
       8},
      {"bytes bind",
       {.max_rows = 8, .max_bytes = 400, .row_bytes = 100, .max_delay_ns = delay},
       {.rows = 4},
       CloseReason::kFull,
       4},
      {"a row is larger than the limit of bytes",
       {.max_rows = 8, .max_bytes = 50, .row_bytes = 100, .max_delay_ns = delay},
       {.rows = 1},
       CloseReason::kFull,
       1},
      {"largest preferred size that is there",
       {.max_rows = 16, .preferred_rows = {2, 4, 12}, .max_delay_ns = delay},
       {.rows = 5},
       CloseReason::kPreferred,
       4},
      {"below every preferred size",
       {.max_rows = 16, .preferred_rows = {4}, .max_delay_ns = delay},
       {.rows = 3},
       CloseReason::kWait,
       0},
      {"a preferred size above the limit does not count",
       {.max_rows = 4, .preferred_rows = {8}, .max_delay_ns = delay},
       {.rows = 3},
       CloseReason::kWait,
       0},
      {"the first batch was closed for those in it",
       {.max_rows = 8, .max_delay_ns = delay},
       {.rows = 20, .closed_rows = 3},
       CloseReason::kDeadline,
       3},
      {"it was closed because it was full",
       {.max_rows = 8, .max_delay_ns = delay},
       {.rows = 20, .closed_rows = 8},
       CloseReason::kFull,
       8},
      {"a preferred size is part of it",
       {.max_rows = 8, .preferred_rows = {2, 4}, .max_delay_ns = delay},
       {.rows = 20, .closed_rows = 3},
       CloseReason::kPreferred,
       2},
      {"draining",
       {.max_rows = 8, .max_delay_ns = delay},
       {.rows = 1, .flush = true},
       CloseReason::kFlush,
       8},
  };
  for (Case c : cases) {
    c.queue.oldest_ns = kStart;
    const BatchDecision decision = Decide(c.limits, c.queue, kStart);
    EXPECT_EQ(decision.reason, c.reason) << c.what;
    EXPECT_EQ(decision.rows, c.rows) << c.what;
    EXPECT_EQ(decision.close, c.reason != CloseReason::kWait) << c.what;
  }
}

}  // namespace
}  // namespace bitmill
