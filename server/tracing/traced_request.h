// What is remembered of a request that is traced, until it is exported.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/metrics/stage_times.h"
#include "server/metrics/trace_id.h"

namespace bitmill {

struct TracedRequest {
  // Known when it begins.
  TraceId trace;
  uint64_t span = 0;         // of the request, the parent of its stages' spans
  uint64_t parent_span = 0;  // the caller's; 0: the trace begins here
  std::string state;         // the caller's tracestate
  const char* method = "";   // "ModelInfer"; lives for ever

  // Known when it is answered. Times are nanoseconds of one monotonic clock.
  int64_t unix_minus_monotonic_ns = 0;
  MonotonicNanos received_ns = 0, finished_ns = 0;
  MonotonicNanos queued_ns = 0;    // handed to the engine; 0: never
  MonotonicNanos computed_ns = 0;  // end of the computation; 0: there was none
  StageTimes stages;               // 0: not reached
  std::string model;               // empty: not known
  int64_t version = 0;
  int64_t rows = 0, batch_rows = 0;  // 0: not known, not computed
  const char* batch_closed = "";     // why its execution started; lives for ever
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string error;  // the status' message
};

}  // namespace bitmill
