#include "server/batch/batch_policy.h"

#include <algorithm>

namespace bitmill {

int64_t EffectiveMaxRows(const BatchLimits& limits) {
  int64_t rows = std::max<int64_t>(limits.max_rows, 1);
  if (limits.max_bytes > 0 && limits.row_bytes > 0) {
    rows = std::min(rows, std::max<int64_t>(limits.max_bytes / limits.row_bytes, 1));
  }
  return rows;
}

BatchDecision Decide(const BatchLimits& limits, const QueueState& queue, MonotonicNanos now) {
  if (queue.rows <= 0) return {};
  const auto close = [](int64_t rows, CloseReason reason) {
    return BatchDecision{.close = true, .rows = rows, .wait_until = 0, .reason = reason};
  };
  const int64_t max_rows = EffectiveMaxRows(limits);
  const bool closed = queue.closed_rows > 0;
  const int64_t rows = closed ? queue.closed_rows : queue.rows;
  if (rows >= max_rows) return close(max_rows, CloseReason::kFull);

  int64_t preferred = 0;
  for (const int64_t size : limits.preferred_rows) {
    if (size <= rows && size <= max_rows) preferred = std::max(preferred, size);
  }
  if (preferred > 0) return close(preferred, CloseReason::kPreferred);
  if (closed) return close(rows, CloseReason::kDeadline);
  if (queue.flush) return close(max_rows, CloseReason::kFlush);
  if (limits.max_delay_ns <= 0) return close(max_rows, CloseReason::kNoDelay);

  MonotonicNanos due = queue.oldest_ns + limits.max_delay_ns;
  if (now >= due) return close(max_rows, CloseReason::kAge);
  if (queue.tightest_deadline > 0) {
    const MonotonicNanos latest_start = queue.tightest_deadline - queue.predicted_run_ns;
    if (now >= latest_start) return close(max_rows, CloseReason::kDeadline);
    due = std::min(due, latest_start);
  }
  return {.close = false, .rows = 0, .wait_until = due, .reason = CloseReason::kWait};
}

}  // namespace bitmill
