// What the operating system says about the server: looked at ten times a second, remembered for
// half a minute, told as sliding windows. docs/analysis_collect.md lists what is read, how often,
// and what it costs; files stay open, what changes slowly or costs much is read twice or once a
// second.
//
// A file that cannot be read, or says something else than it should, makes its values -1 (0 where
// HostWindow says so) and is logged once, for debugging; it is never an error.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/pseudo_file.h"
#include "server/analysis/cgroup_reader.h"
#include "server/analysis/energy.h"
#include "server/analysis/host_window.h"
#include "server/analysis/nvml.h"
#include "server/analysis/observation.h"
#include "server/analysis/pending_writes.h"
#include "server/analysis/perf_counters.h"
#include "server/analysis/pressure_reader.h"
#include "server/analysis/sample_ring.h"
#include "server/analysis/thread_waits.h"
#include "server/metrics/metric_point.h"

namespace bitmill {

struct HostSamplerOptions {
  std::string filesystem_root = {};  // "" in production; tests put /proc and /sys below a folder
  double override_cpus = 0;          // as for DetectCpuBudget()
  // OpenPerfEvents(), called before the process had other threads.
  absl::StatusOr<std::unique_ptr<PerfReader>> perf = absl::UnavailableError("not asked for");
  std::unique_ptr<Nvml> nvml = nullptr;  // null: no GPUs are looked at
  EnergyModel energy = {};               // where energy cannot be read
};

class HostSampler {
 public:
  // `clock` outlives it.
  HostSampler(HostSamplerOptions options, const Clock& clock);

  // Bytes pending towards the clients of this local port are looked at from now on. Thread-safe.
  void WatchPort(int port) { port_.store(port, std::memory_order_relaxed); }

  // To be called every 100 ms, by one thread.
  void Sample();

  // What happened from `length` before the newest sample until then, or since the oldest that is
  // remembered; HostWindow::seconds says which. Thread-safe, as all that follows.
  HostWindow Window(MonotonicNanos length) const;
  // The newest sample.
  HostSample Newest() const;
  // As bitmill_..., with shares over the last 5 seconds. What cannot be read is left out.
  std::vector<MetricPoint> Metrics() const;
  // Why there are no hardware counters; "" when there are.
  std::string perf_unavailable_reason() const { return perf_unavailable_reason_; }

 private:
  void SampleOften();
  void SampleSometimes();  // twice a second
  void SampleProcess();
  void SampleSeldom();  // once a second
  void SampleBudget();
  int64_t CountDescriptors() const;

  const std::string root_;
  const double override_cpus_;
  const Clock& clock_;
  const std::string perf_unavailable_reason_;
  std::atomic<int> port_{0};

  // Of the sampling thread.
  std::unique_ptr<PerfReader> perf_;  // nullptr: not available
  const std::unique_ptr<Nvml> nvml_;  // likewise
  std::vector<char> memory_;
  const absl::Span<char> buffer_;
  const bool proc_is_real_;
  PseudoFile self_stat_, machine_stat_;
  PressureReader cpu_pressure_, memory_pressure_, io_pressure_;
  CgroupReader cgroups_;
  ThreadWaits waits_;
  PendingWrites pending_writes_;
  EnergyMeter energy_;
  HostSample current_;
  std::optional<MonotonicNanos> sometimes_due_ns_, seldom_due_ns_, budget_due_ns_;
  int64_t throttled_periods_ = 0;
  // Machine ticks as of the last look at the energy.
  int64_t energy_busy_ticks_ = -1, energy_ticks_ = -1;

  mutable Mutex mutex_;
  SampleRing<HostSample> samples_ ABSL_GUARDED_BY(mutex_);
};

// The points of HostSampler::Metrics().
std::vector<MetricPoint> HostMetrics(const HostSample& newest, const HostWindow& window);

}  // namespace bitmill
