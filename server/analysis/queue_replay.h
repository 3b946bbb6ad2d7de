// Replays arrivals through a model of one served version: a queue, batches closed by the policy
// that the server itself uses (server/batch/batch_policy.h), so many executions at a time, and a
// service time of a + b rows. The what-if of the analysis: the same requests with another setting,
// without a delay, on a machine that is not throttled. Also the ground of its simulations.
//
// Deterministic. About 100 ns a request; a window of 10,000 requests takes a millisecond.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "base/clock.h"
#include "server/analysis/report.h"

namespace bitmill {

struct ReplayRequest {
  MonotonicNanos arrive_ns = 0;  // in the queue
  int32_t rows = 1;
  MonotonicNanos deadline_ns = 0;  // not computed from then on; 0: none
  int64_t around_ns = 0;           // decoding, encoding, writing: added to its latency
};

struct ReplayExecution {
  MonotonicNanos start_ns = 0, end_ns = 0;
  int64_t rows = 0;
  int32_t requests = 0;
  int instance = 0;
  BatchClosed closed = BatchClosed::kNever;
};

enum class ReplayFate : uint8_t { kAnswered, kRefused, kExpired };

struct ReplayOutcome {
  ReplayFate fate = ReplayFate::kAnswered;
  int64_t latency_ns = 0;    // from arrival, with around_ns; of a refused one: 0
  int64_t queue_ns = 0;      // until its execution started
  int64_t formation_ns = 0;  // of that: while an instance was free
  int32_t execution = -1;    // index in ReplayResult::executions
};

struct ReplayResult {
  std::vector<ReplayOutcome> requests;  // in the order of the arrivals
  std::vector<ReplayExecution> executions;

  // Of the answered requests, in nanoseconds; 0 when there are none. `quantile` in 0..1.
  int64_t LatencyQuantile(double quantile) const;
  double MeanLatencyNanos() const;
  // Answered within `objective_ns` (all answered when 0), as rows.
  int64_t GoodRows(absl::Span<const ReplayRequest> arrivals, int64_t objective_ns) const;
};

// How long an execution takes that starts at `start` on `instance`.
using ServiceTime = std::function<int64_t(int64_t rows, MonotonicNanos start_ns, int instance)>;

// a + b rows, for every start.
ServiceTime ServiceTimeOf(const ServiceLine& line);

// `arrivals` by arrive_ns; each has 1 .. controls.max_rows rows. A request is refused when
// max_queue_requests wait, or when admit_within_ns is set and it cannot be answered in time
// (server/batch/admission.h) as far as `predicted` knows, the time of an execution without its
// luck; an idle model takes whatever comes.
ReplayResult Replay(absl::Span<const ReplayRequest> arrivals, const ModelControls& controls,
                    const ServiceTime& service, const ServiceTime& predicted);
// With every execution as predicted.
ReplayResult Replay(absl::Span<const ReplayRequest> arrivals, const ModelControls& controls,
                    const ServiceTime& service);

}  // namespace bitmill
