// One waiting request as the batcher sees it, and what a refusal says.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "server/metrics/request_record.h"
#include "server/metrics/stage_times.h"

namespace bitmill {

// The submitter owns it and keeps it unchanged until it is run or rejected.
struct BatchItem {
  int64_t rows = 1;
  MonotonicNanos received_ns = 0;
  MonotonicNanos deadline_ns = 0;                // not computed from then on; 0: none
  uint64_t priority = 0;                         // 0 and 1 are served first, then 2, ...
  const std::atomic<bool>* cancelled = nullptr;  // true: nobody waits for the answer any more
  StageTimes times;                              // the batcher adds queue and schedule
  int64_t batch_rows = 0;  // set by the batcher: rows of the execution that it is part of
  BatchClosed closed = BatchClosed::kNever;  // set by the batcher: why that execution started
  // Set by the batcher: of the queue stage, how long an instance was free and no worker was on its
  // way: the wait for company.
  int64_t formation_ns = 0;

  MonotonicNanos queued_ns = 0;  // start of the queue stage; 0: the batcher sets it on arrival

  MonotonicNanos taken_ns = 0;  // set by the batcher: end of the queue stage
  bool inline_run = false;  // set by the batcher: run by the thread that submitted it, or others

  BatchItem* next = nullptr;      // the batcher's own
  int64_t formation_mark_ns = 0;  // the batcher's own: its formation clock on arrival
};

// The type URL of the payload of a ResourceExhausted status: after how many milliseconds (decimal
// text) a retry is likely to find room.
inline constexpr char kRetryAfterPayload[] = "bitmill/retry-after-ms";

}  // namespace bitmill
