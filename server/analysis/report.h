// What the analysis says, as plain values: the same for the RPCs, the metrics, the web page, the
// log.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/analysis/latency_histogram.h"
#include "server/analysis/observation.h"
#include "server/analysis/quality/quality_report.h"
#include "server/analysis/routing_report.h"

namespace bitmill {

enum class Cause : uint8_t {
  kHealthy,
  kUnknown,
  kOverload,            // more arrives than can be computed
  kBatchFormationWait,  // batches wait for company while an instance is free
  kComputeBound,        // arithmetic at the machine's limit
  kMemoryBound,         // reading memory at the machine's limit
  kCpuThrottled,        // the control group's CPU quota
  kNoisyNeighbour,      // other work on the same CPUs
  kSerialization,       // decoding requests and encoding answers
  kSlowClient,          // the network, or a client that reads slowly
  kColdStart,           // just loaded
  kLockContention,      // threads that sleep while they compute
  kImbalance,           // some instances much slower or busier than others
  kPaddingWaste,        // rows computed that nobody asked for
  kDeviceQueue,         // an accelerator's queue
  kMemoryPressure,      // paging, or a memory limit
};
inline constexpr int kCauses = 16;
inline constexpr std::array<const char*, kCauses> kCauseNames = {
    "healthy",       "unknown",       "overload",      "batch_formation_wait",
    "compute_bound", "memory_bound",  "cpu_throttled", "noisy_neighbour",
    "serialization", "slow_client",   "cold_start",    "lock_contention",
    "imbalance",     "padding_waste", "device_queue",  "memory_pressure"};
inline const char* CauseName(Cause cause) { return kCauseNames[static_cast<size_t>(cause)]; }

struct Finding {
  Cause cause = Cause::kUnknown;
  double recoverable_p99_ms = 0;  // of p99, were this cause not there
  double confidence = 0;          // 0 to 1
  std::string evidence;  // "queue 41.2 ms of 45.0 ms; 1,210/s arrive, 1,000/s can be served"
  std::string advice;    // "raise max_batch_size from 8 to 32: p99 45 -> about 12 ms"
};

struct Diagnosis {
  Cause cause = Cause::kUnknown;
  double confidence = 0;
  std::vector<Finding> findings;  // by recoverable_p99_ms, largest first; healthy: may be empty
  // What findings are parts of: of answered requests as their clients see it, so with what passes
  // before they are received, where clients tell, and until the answer is taken. 0: not judged.
  double p99_ms = 0;
};

// How long an execution of n rows takes its instance, with gathering and answering: a + b n.
struct ServiceLine {
  double a_ms = 0, b_ms = 0;
  double relative_error = 0;  // root mean square of the residuals over the mean
  int64_t samples = 0;        // 0: not known yet
  // Batches of several sizes were seen. Otherwise a + b n is right for the size that was, and how
  // it divides into a and b is an assumption.
  bool split_known = false;
};

// What keeps a version from serving more.
enum class CapacityLimit : uint8_t {
  kInstances,  // all of them busy with full batches
  kIoThreads,  // receiving and answering
  kCpus,       // both together need more CPU than the process may use
};
inline constexpr std::array<const char*, 3> kCapacityLimitNames = {"instances", "io_threads",
                                                                   "cpus"};

struct Forecast {
  double demand_rows_per_s = 0;  // now, smoothed
  double demand_trend_rows_per_s2 = 0;
  double demand_ahead_rows_per_s = 0;                  // `horizon_seconds` ahead
  double demand_ahead_low = 0, demand_ahead_high = 0;  // 90 % interval
  double horizon_seconds = 30;
  double capacity_rows_per_s = 0;  // under the objective, or at saturation where none is stated
  CapacityLimit capacity_limit = CapacityLimit::kInstances;
  double receive_ms = 0;              // of an I/O thread for a request, when busy; 0: not known
  bool split_known = false;           // of what limits the capacity, as ServiceLine::split_known
  double headroom = 1;                // 1 - demand ahead / capacity
  double seconds_to_saturation = -1;  // -1: not within an hour
  double seconds_to_saturation_low = -1, seconds_to_saturation_high = -1;
  double predicted_p99_ms = 0;  // from the line and the demand now; 0: not known
  bool a_drifted = false, b_drifted = false;
};

enum class WarningReason : uint8_t {
  kSaturationAhead,  // the forecast demand exceeds the capacity
  kOverloaded,       // it does already
  kObjectiveAtRisk,  // p99 is predicted to miss the objective
  kCapacityLost,     // the same rows take longer than before
  kServiceDrift,     // a or b moved
  kCpuThrottled,
  kMemoryPressure,
  kDescriptorsLow,
  kInputDrift,
  kPredictionDrift,
  kAccuracyDrop,
  kInvalidInputs,
};
inline constexpr int kWarningReasons = 12;
inline constexpr std::array<const char*, kWarningReasons> kWarningReasonNames = {
    "saturation_ahead", "overloaded",       "objective_at_risk", "capacity_lost",
    "service_drift",    "cpu_throttled",    "memory_pressure",   "descriptors_low",
    "input_drift",      "prediction_drift", "accuracy_drop",     "invalid_inputs"};

struct Warning {
  int64_t id = 0;  // grows
  WarningReason reason = WarningReason::kOverloaded;
  std::string model;  // empty: the host
  int64_t version = 0;
  int64_t raised_unix_ms = 0;
  int64_t cleared_unix_ms = 0;  // 0: it holds
  std::string message;
};

enum class Control : uint8_t { kMaxRows, kMaxDelay, kInstances, kMaxQueueRequests, kAdmitWithin };
inline constexpr std::array<const char*, 5> kControlNames = {"max_rows", "max_delay", "instances",
                                                             "max_queue_requests", "admit_within"};

// One change of a setting, proposed (advise) or made (on).
struct Adaptation {
  int64_t id = 0;
  int64_t unix_ms = 0;
  std::string model;
  int64_t version = 0;
  Control control = Control::kMaxRows;
  double from = 0, to = 0;  // in the unit of ModelControls
  std::string reason;
  double predicted_goodput_per_s = 0;  // rows within the objective
  double realized_goodput_per_s = -1;  // -1: not known yet
  bool applied = false, rolled_back = false;
};

struct Quantiles {
  double mean_ms = 0, p50_ms = 0, p90_ms = 0, p99_ms = 0, max_ms = 0;
};

// A step of the compiled plan, as a point of the roofline. A value that is -1 is not known.
struct OperationReport {
  std::string name, kernel;
  double row_macs = 0, row_bytes = 0, weight_bytes = 0;
  double mean_us = 0, mean_rows = 0;  // of the sampled executions
  double time_share = 0;              // of the model's steps
  double share_of_limit = -1;
  std::string bound = {};  // "compute", "L1", "L2", "L3", "memory"; empty: not known
};

struct ModelReport {
  ModelFacts facts;
  ModelControls controls;
  Objective objective;
  double offered_per_s = 0, answered_per_s = 0, refused_per_s = 0, expired_per_s = 0,
         failed_per_s = 0, rows_per_s = 0;  // requests but for rows
  double goodput_per_s = 0;                 // answered within the objective (all, if none)
  Quantiles latency;
  std::array<double, kStages> stage_mean_ms{}, stage_p99_ms{};
  double formation_mean_ms = 0, write_mean_ms = 0;
  double mean_batch_rows = 0, executions_per_s = 0;
  std::array<double, kBatchClosedReasons> closed_share{};
  double busy_share = 0;       // of the instances' time
  double share_of_limit = -1;  // of what the machine's arithmetic or memory allows; -1: not known
  int64_t queue_depth = 0;
  double in_system = 0;
  // Self-checks, relative: stages against total; mean in system against rate times latency.
  double stage_sum_error = 0, little_error = 0;
  ServiceLine line;
  Forecast forecast;
  Diagnosis diagnosis;
  LatencyHistogram latency_histogram;            // of what `latency` summarizes; empty: not kept
  std::vector<OperationReport> operations = {};  // in the plan's order; empty: not sampled
  std::optional<QualityReport> quality = {};     // none: it is not watched
  std::optional<RoutingReport> routing = {};     // none: its batches are not routed
  std::optional<DivisionReport> division = {};   // none: it is not divided
};

struct AnalysisReport {
  int64_t unix_millis = 0;
  double window_seconds = 0;
  MachineLimits limits;
  HostWindow host;
  Diagnosis host_diagnosis;
  std::vector<ModelReport> models;
  std::vector<Warning> warnings;        // that hold
  std::vector<Adaptation> adaptations;  // the newest last, at most 100
  int64_t records_dropped = 0;          // since the start: the analysis was too slow
};

}  // namespace bitmill
