// Names the bottleneck: of each model, and of the host. Every cause has a gate, a condition on the
// signals that belong to it, and a score, the milliseconds of p99 that would be gone without it,
// from a what-if on the window's own records (what_if.h). The highest score names the cause; what
// nobody would miss is healthy, what nothing explains is unknown. docs/analysis.md has the table.
//
// Pure functions without memory: the same window gives the same answer. About 10 ms for a window of
// 10,000 requests.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "server/analysis/observation.h"
#include "server/analysis/report.h"

namespace bitmill {

// Shares are 0 to 1. Fitted on one half of the labelled cases, scored on the other.
struct JudgeThresholds {
  // Fewer say nothing: unknown.
  int64_t min_requests = 20;
  int64_t min_executions = 5;
  // Stages that miss more of the total than this are no evidence: unknown.
  double max_stage_sum_error = 0.2;

  // A cause counts when it costs at least all of these.
  double min_recoverable_share = 0.05;    // of p99, or what larger causes leave of it
  double min_recoverable_of_ideal = 0.4;  // of the ideal latency: a lone request's, undisturbed
  double min_recoverable_ms = 0.2;        // where no objective is stated
  double min_share_of_objective = 0.05;   // where one is
  // With an objective all is well as long as it is met by 99 % and as many are answered at all.
  double max_lost_share = 0.01;
  // Without one p99 is suspicious, though nothing explains it, from both on.
  double suspicious_of_ideal = 10;
  double suspicious_ms = 2;
  // Unless so much of it is what undisturbed executions give at this load.
  double usual_share = 0.7;

  // A cause's contributions: smaller ones are noise.
  double overload_saturation = 0.9;  // rows that arrive, of those that can be computed
  double burst_saturation = 1.1;     // the same within half a second
  double burst_share = 0.1;          // of the half seconds
  double light_saturation = 0.7;     // the load compared with: what a sound server would get
  double worker_wait_share = 0.2;    // of the mean latency, until a worker takes a closed batch
  double worker_busy_share = 0.85;   // of the CPUs that the process may use, at such times
  double formation_share = 0.1;      // of the mean latency
  double limit_share = 0.5;          // of the machine's limit: at it
  double limit_compute_share = 0.5;  // of the mean latency, here, in undisturbed executions
  double limit_saturation = 0.85;    // a reason to complain where no objective is stated
  double limit_of_objective = 0.7;   // likewise where one is: an ideal request's share of it
  double flat_line_share = 0.3;      // b rows / (a + b rows): time hardly depends on rows
  double throttled_share = 0.02;     // of the time
  double throttled_periods_share = 0.05;  // of the enforcement periods
  double neighbour_wait_share = 0.05;     // of the executions' time, ready but not running
  double neighbour_busy_share = 0.15;     // of the machine, by others
  double steal_share = 0.03;              // of the CPUs' time
  // Likewise, where p99 is suspicious and nothing else explains it: half of what p99 leaves out.
  double steal_share_of_tail = 0.005;
  double slowed_on_cpu = 1.3;          // times the known service line, with no wait at all
  double serialization_share = 0.2;    // of the mean latency
  double client_share = 0.2;           // of the mean latency as the client sees it
  double usual_way_ms = 1;             // of p99: what gRPC and a network near by take anyway
  double cold_seconds = 10;            // after a load
  double warm_after_seconds = 4;       // earlier there is nothing to say by what is usual
  double cold_slowdown = 1.5;          // of an execution, against the window's usual
  double cold_share = 0.3;             // of the executions of half a second, while it lasts
  double lock_share = 0.05;            // of the executions' time asleep
  double starved_wait_cores = 0.2;     // of threads that hardly get a CPU while others do
  double imbalance_ratio = 1.4;        // slowest over fastest instance
  int64_t imbalance_executions = 5;    // of an instance at least
  double padding_ratio = 1.2;          // rows computed over rows asked for
  double device_queue_share = 0.1;     // of the executions' time
  double memory_psi_share = 0.02;      // of the time that something waited for memory
  double memory_faults_per_s = 2;      // from a disk
  double memory_hits_per_s = 0.2;      // of the control group's limit
  double paged_out_faults_per_s = 10;  // from a disk: requests are taken late, too
};

// `line` is what is known of the model's service time from before this window (samples 0: nothing).
// Neither `limits` nor any host value is required: what is missing is not judged by.
Diagnosis JudgeModel(const ModelWindow& window, const HostWindow& host, const MachineLimits& limits,
                     const ServiceLine& line, const JudgeThresholds& thresholds = {});

// When executions had become as fast as usual after the model's last load, for ModelLoad::warm_ns;
// 0: this window does not show it.
MonotonicNanos WarmSince(const ModelWindow& window, const HostWindow& host,
                         const MachineLimits& limits, const ServiceLine& line,
                         const JudgeThresholds& thresholds = {});

// The host's own causes (throttled, neighbour, memory, overload of its CPUs), each with the most
// that it costs any of the models. `models` belong to observation.models, in their order.
Diagnosis JudgeHost(const Observation& observation, absl::Span<const Diagnosis> models,
                    const JudgeThresholds& thresholds = {});

}  // namespace bitmill
