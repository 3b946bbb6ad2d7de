// One waiting request as the batcher sees it.
#pragma once

#include <cstdint>
#include <functional>

#include "base/clock.h"
#include "server/metrics/stage_times.h"

namespace bitmill {

// The submitter owns it and keeps it unchanged until it is run or rejected.
struct BatchItem {
  int64_t rows = 1;
  MonotonicNanos received_ns = 0;
  MonotonicNanos deadline_ns = 0;   // not computed from then on; 0: none
  uint64_t priority = 0;            // 0 and 1 are served first, then 2, ...
  std::function<bool()> cancelled;  // asked just before execution, from any thread; may be empty
  StageTimes times;                 // the batcher adds queue and schedule
  int64_t batch_rows = 0;           // set by the batcher: rows of the execution that it is part of

  // The batcher's own.
  BatchItem* next = nullptr;
  MonotonicNanos queued_ns = 0;
};

}  // namespace bitmill
