#include "server/analysis/host_window.h"

#include <algorithm>

namespace bitmill {
namespace {

// -1 where either is, or where the counter went back.
int64_t Growth(int64_t first, int64_t last) {
  return first < 0 || last < first ? -1 : last - first;
}

// Growth of a counter over `whole`; -1: not known.
double Rate(int64_t first, int64_t last, double whole) {
  const int64_t growth = Growth(first, last);
  return growth < 0 || whole <= 0 ? -1 : static_cast<double>(growth) / whole;
}

double Share(int64_t first, int64_t last, double whole) {
  return std::min(1.0, Rate(first, last, whole));
}

double Share(const Pressure& first, const Pressure& last, int64_t Pressure::*kind, double micros) {
  return Share(first.*kind, last.*kind, micros);
}

// The kernel adds up the time that the group was held back on each CPU by itself. With K CPUs that
// run the group while it is not, this is K T a second for a share T of the time, and the CPU time
// is K (1 - T): hence T = held / (held + cpu). Where threads also idle, or wait for others, that is
// too much; but T is never above `held` (K is at least 1), nor above the share of the periods.
double ThrottledShare(double held_cpus, double cpu_cores, double periods_share) {
  if (held_cpus <= 0) return held_cpus;  // not known, or not at all
  const double share = std::min(held_cpus, held_cpus / (held_cpus + cpu_cores));
  return periods_share > 0 ? std::min(share, periods_share) : share;
}

void FillPressure(const HostTotals& a, const HostTotals& b, double micros, HostWindow& window) {
  constexpr auto kSome = &Pressure::some_us;
  constexpr auto kFull = &Pressure::full_us;
  window.psi_cpu_some = Share(a.cpu, b.cpu, kSome, micros);
  window.psi_memory_some = Share(a.memory, b.memory, kSome, micros);
  window.psi_memory_full = Share(a.memory, b.memory, kFull, micros);
  window.psi_io_some = Share(a.io, b.io, kSome, micros);
  window.psi_group_cpu_some = Share(a.group_cpu, b.group_cpu, kSome, micros);
  window.psi_group_memory_some = Share(a.group_memory, b.group_memory, kSome, micros);
  window.psi_group_memory_full = Share(a.group_memory, b.group_memory, kFull, micros);
  window.psi_group_io_some = Share(a.group_io, b.group_io, kSome, micros);
}

}  // namespace

HostWindow WindowBetween(const HostSample& first, const HostSample& last) {
  const HostTotals& a = first.totals;
  const HostTotals& b = last.totals;
  HostWindow window{.cpu_budget_cores = last.cpu_budget_cores,
                    .machine_cores = last.machine_cores,
                    .resident_bytes = last.resident_bytes,
                    .memory_limit_bytes = last.memory_limit_bytes,
                    .memory_used_bytes = last.memory_used_bytes,
                    .open_fds = last.open_fds,
                    .max_fds = last.max_fds,
                    .pending_write_bytes = last.pending_write_bytes};
  const auto often_nanos = static_cast<double>(last.at_ns - first.at_ns);
  const auto nanos = static_cast<double>(last.sometimes_at_ns - first.sometimes_at_ns);
  const double seconds = nanos * 1e-9;
  window.seconds = std::max(0.0, often_nanos * 1e-9);
  window.process_cpu_cores = std::max(0.0, Rate(a.process_cpu_ns, b.process_cpu_ns, nanos));
  window.run_queue_wait_cores = Rate(a.run_queue_wait_ns, b.run_queue_wait_ns, nanos);
  window.starved_wait_cores = Rate(a.starved_wait_ns, b.starved_wait_ns, nanos);
  // The kernel's ticks are their own clock: all CPUs' ticks are the whole.
  const auto ticks = static_cast<double>(Growth(a.machine_ticks, b.machine_ticks));
  window.steal_share = Share(a.machine_steal_ticks, b.machine_steal_ticks, ticks);
  const double busy = Share(a.machine_busy_ticks, b.machine_busy_ticks, ticks);
  window.machine_busy_cores = busy < 0 ? -1 : busy * last.machine_cores;
  const double allowed_ticks = ticks / std::max(last.machine_cores, 1.0);  // of one CPU
  window.allowed_busy_cores = Share(a.allowed_busy_ticks, b.allowed_busy_ticks, allowed_ticks);
  window.allowed_cores = last.allowed_cores;
  const int64_t periods = Growth(a.periods, b.periods);
  window.throttled_periods_share =
      periods == 0 ? 0
                   : Share(a.throttled_periods, b.throttled_periods, static_cast<double>(periods));
  window.throttled_share = ThrottledShare(Rate(a.throttled_ns, b.throttled_ns, often_nanos),
                                          window.process_cpu_cores, window.throttled_periods_share);
  FillPressure(a, b, nanos * 1e-3, window);
  window.major_faults_per_s = std::max(0.0, Rate(a.major_faults, b.major_faults, seconds));
  window.minor_faults_per_s = std::max(0.0, Rate(a.minor_faults, b.minor_faults, seconds));
  window.memory_limit_hits_per_s =
      std::max(0.0, Rate(a.memory_limit_hits, b.memory_limit_hits, seconds));
  const PerfWindow perf = PerfBetween(
      first.perf, last.perf, static_cast<double>(last.perf_at_ns - first.perf_at_ns) * 1e-9);
  window.instructions_per_cycle = perf.instructions_per_cycle;
  window.cache_misses_per_s = perf.cache_misses_per_s;
  window.memory_bytes_per_s_estimate = perf.memory_bytes_per_s_estimate;
  return window;
}

}  // namespace bitmill
