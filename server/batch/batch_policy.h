// When a batch is closed: a pure function of limits, queue and time. It is asked only while an
// execution could start, so "close" means "start now with what is there" (work-conserving); without
// a configured delay nothing ever waits for company while a worker is idle.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace bitmill {

struct BatchLimits {
  int64_t max_rows = 1;                      // of an execution
  int64_t max_bytes = 0;                     // of the inputs of an execution; 0: no limit
  int64_t row_bytes = 0;                     // input bytes of a row
  std::vector<int64_t> preferred_rows = {};  // ascending; sizes that run well; empty: none
  MonotonicNanos max_delay_ns = 0;           // longest wait for more rows
};

struct QueueState {
  int64_t rows = 0;
  int64_t closed_rows = 0;               // of them, the first batch: nothing may join it; 0: none
  MonotonicNanos oldest_ns = 0;          // when the oldest request was queued
  MonotonicNanos tightest_deadline = 0;  // of all that wait; 0: none has one
  MonotonicNanos predicted_run_ns = 0;   // of a batch of all rows that wait
  bool flush = false;                    // draining: nothing will join
};

enum class CloseReason : uint8_t { kWait, kFull, kPreferred, kNoDelay, kAge, kDeadline, kFlush };

struct BatchDecision {
  bool close = false;
  int64_t rows = 0;               // when closed: rows to take at most
  MonotonicNanos wait_until = 0;  // when not closed and rows wait: ask again then, or at an arrival
  CloseReason reason = CloseReason::kWait;
};

// Rows that an execution may have: max_rows, or fewer when max_bytes binds; at least 1.
int64_t EffectiveMaxRows(const BatchLimits& limits);

BatchDecision Decide(const BatchLimits& limits, const QueueState& queue, MonotonicNanos now);

}  // namespace bitmill
