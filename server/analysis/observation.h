// What the analysis looks at: a window of what happened, as plain values. Everything that judges,
// predicts or adapts is a pure function of these, so that it can be tested and simulated without a
// server or a clock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/metrics/adapt_mode.h"
#include "server/metrics/power_wish.h"
#include "server/metrics/request_record.h"

namespace bitmill {

// What one core of this machine can do at most; 0: not measured.
struct MachineLimits {
  double bit_macs_per_s = 0;          // 1 x 1 bit
  double lowbit_int8_macs_per_s = 0;  // low-bit or int8 weights x int8
  double fp32_macs_per_s = 0;
  double l1_bytes_per_s = 0, l2_bytes_per_s = 0, l3_bytes_per_s = 0, dram_bytes_per_s = 0;
};

// The host over the window. Shares are of the window's time, 0 to 1; -1: cannot be read here.
struct HostWindow {
  double seconds = 0;
  double cpu_budget_cores = 1;     // that the process may use
  double machine_cores = 1;        // of the machine
  double process_cpu_cores = 0;    // CPU seconds of this process per second
  double newest_cpu_cores = -1;    // the same of the newest two seconds; -1: not known
  double requests_per_s = 0;       // answered, of all models; 0: not known
  double machine_busy_cores = -1;  // CPU seconds of everything per second
  // The same of the CPUs that the process may run on alone; cores 0: not known.
  double allowed_busy_cores = -1, allowed_cores = 0;
  double throttled_share = -1;          // of the time that the control group was held back
  double throttled_periods_share = -1;  // of the enforcement periods
  double run_queue_wait_cores =
      -1;  // seconds that our threads were ready but not running, per second
  // Of those, of threads that hardly got a CPU while another of ours mostly did.
  double starved_wait_cores = -1;
  double steal_share = -1;  // of all CPUs' time, taken by the hypervisor
  double psi_cpu_some = -1, psi_memory_some = -1, psi_memory_full = -1, psi_io_some = -1;
  double major_faults_per_s = 0, minor_faults_per_s = 0;
  int64_t resident_bytes = 0;
  int64_t memory_limit_bytes = 0;      // of the control group; 0: none
  int64_t memory_used_bytes = 0;       // of the control group; 0: cannot be read
  double memory_limit_hits_per_s = 0;  // times that the control group ran into its limit
  int64_t open_fds = 0, max_fds = 0;
  // The same for this process's control group alone, where it has its own files (v2); -1: not.
  double psi_group_cpu_some = -1, psi_group_memory_some = -1, psi_group_memory_full = -1,
         psi_group_io_some = -1;
  int64_t pending_write_bytes = -1;  // sent by us, not yet acknowledged by clients; -1: not known
  // By the hardware's counters, where there are any; -1: not.
  double instructions_per_cycle = -1, cache_misses_per_s = -1, memory_bytes_per_s_estimate = -1;
};

// The share of the time that something of ours waited for memory: of the own control group where it
// tells, since others' waits are not ours; otherwise of the whole machine. -1: neither can be read.
struct MemoryStall {
  double share = -1;
  const char* of = "the machine";
};
inline MemoryStall MemoryStallOf(const HostWindow& host) {
  if (host.psi_group_memory_some >= 0) return {host.psi_group_memory_some, "our control group"};
  return {host.psi_memory_some, "the machine"};
}

// CPU seconds a second of others on the CPUs that the process may use (of the whole machine where
// those are not known), and how many CPUs those are.
struct OthersBusy {
  double cores = -1;  // -1: not known
  double of_cores = 1;
};
inline OthersBusy OthersOf(const HostWindow& host) {
  const bool known = host.allowed_busy_cores >= 0 && host.allowed_cores > 0;
  const double busy = known ? host.allowed_busy_cores : host.machine_busy_cores;
  if (busy < 0) return {.cores = -1, .of_cores = host.machine_cores};
  return {.cores = std::max(busy - host.process_cpu_cores, 0.0),
          .of_cores = known ? host.allowed_cores : host.machine_cores};
}

// What is fixed while a model version is loaded.
struct ModelFacts {
  std::string name;
  int64_t version = 0;
  double row_macs = 0;          // multiply-accumulates of a row
  double compute_floor_ns = 0;  // of a row at the machine's compute limits, one core; 0: not known
  int64_t weight_bytes = 0;     // read by each execution
  int64_t row_bytes = 0;        // of inputs and outputs
  MonotonicNanos load_begin_ns = 0, loaded_ns = 0;  // from reading its file until it was served
};

// A model version that was loaded, for the first time or again.
struct ModelLoad {
  MonotonicNanos begin_ns = 0, end_ns = 0;
  // From then on executions were as fast as usual: what slows them later is not this load. 0: that
  // was not seen yet.
  MonotonicNanos warm_ns = 0;
};

// What may be changed while it is served.
struct ModelControls {
  int64_t max_rows = 1;                // of an execution
  MonotonicNanos max_delay_ns = 0;     // longest wait for company
  int instances = 1;                   // executions at a time
  int64_t max_queue_requests = 1024;   // more are refused
  MonotonicNanos admit_within_ns = 0;  // requests predicted to finish later are refused; 0: none
};

// What its operator wants of it.
struct Objective {
  double p99_ms = 0;  // of the time from received to answered; 0: none was stated
  AdaptMode adapt = AdaptMode::kOff;
  PowerWish power = {};
};

// One model over the window. Where there were more records than are kept, a uniform sample: each
// stands for `weight` of its kind.
struct ModelWindow {
  ModelFacts facts;
  ModelControls controls;
  Objective objective;
  MonotonicNanos begin_ns = 0, end_ns = 0;
  // Exact counts of the window.
  int64_t arrived = 0;   // requests that named the model: answered, refused or failed
  int64_t answered = 0;  // with OK
  int64_t refused = 0;   // RESOURCE_EXHAUSTED
  int64_t expired = 0;   // DEADLINE_EXCEEDED
  int64_t failed = 0;    // any other code
  int64_t rows = 0;      // answered
  int64_t executions = 0;
  // Exact counts of the last tick alone (about a second, tick_begin_ns to end_ns).
  MonotonicNanos tick_begin_ns = 0;
  int64_t tick_arrived = 0, tick_arrived_rows = 0, tick_answered = 0, tick_refused = 0;
  double mean_in_system = 0;            // requests received and not answered, averaged over time
  int64_t queue_depth = 0;              // at the end
  std::vector<RequestRecord> requests;  // by received_ns
  std::vector<ExecutionRecord> executions_seen;  // by start_ns
  double request_weight = 1, execution_weight = 1;
  std::vector<TurnRecord> turns = {};  // those that were measured, by end_ns
  int io_threads = 1;                  // that receive requests
  ModelControls configured;            // as it was loaded: no change goes beyond
  // The last one, and before it those that ended within the window; oldest first.
  std::vector<ModelLoad> loads = {};

  double seconds() const { return static_cast<double>(end_ns - begin_ns) * 1e-9; }
};

// Everything that is known at one tick of the analysis.
struct Observation {
  MonotonicNanos now_ns = 0;
  int64_t unix_millis = 0;
  MachineLimits limits;
  HostWindow host;
  std::vector<ModelWindow> models = {};
};

}  // namespace bitmill
