// From two looks at the host to what happened in between.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "server/analysis/energy.h"
#include "server/analysis/nvml.h"
#include "server/analysis/observation.h"
#include "server/analysis/perf_counters.h"
#include "server/analysis/proc_text.h"

namespace bitmill {

// Counters of the host, all since the sampler was made unless said otherwise; -1: cannot be read.
struct HostTotals {
  int64_t process_cpu_ns = -1;  // in steps of a clock tick, 10 ms
  int64_t minor_faults = -1, major_faults = -1;
  int64_t run_queue_wait_ns = -1;  // of our threads, since they began
  int64_t starved_wait_ns = -1;    // of those among them that others left without a CPU
  int64_t periods = -1, throttled_periods = -1;
  int64_t throttled_ns = -1;  // summed over the CPUs on which the group was held back
  int64_t memory_limit_hits = -1;
  int64_t machine_busy_ticks = -1, machine_steal_ticks = -1, machine_ticks = -1;  // of all CPUs
  int64_t allowed_busy_ticks = -1;                            // of those that the process may use
  Pressure cpu = {}, memory = {}, io = {};                    // of the machine
  Pressure group_cpu = {}, group_memory = {}, group_io = {};  // of the own control group
};

// One look at the host. Not everything is read each time: what was not is as it was last read.
struct HostSample {
  MonotonicNanos at_ns = 0;
  MonotonicNanos sometimes_at_ns = 0;  // of all but throttling
  MonotonicNanos perf_at_ns = 0;
  HostTotals totals = {};
  // As it was then.
  double cpu_budget_cores = 1, machine_cores = 1;
  double allowed_cores = 0;
  int64_t resident_bytes = 0;
  int64_t memory_limit_bytes = 0, memory_used_bytes = 0;  // as in HostWindow
  int64_t open_fds = 0, max_fds = 0;
  int64_t pending_write_bytes = -1;
  MonotonicNanos energy_at_ns = 0;
  EnergyReading energy = {};
  std::shared_ptr<const std::vector<GpuReading>> gpus = {};  // null: none are looked at
  PerfReading perf = {};
};

// Without seconds to divide by (the same sample twice), counts and shares are as if not readable.
HostWindow WindowBetween(const HostSample& first, const HostSample& last);

}  // namespace bitmill
