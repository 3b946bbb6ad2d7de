// What the texts in /proc and in control groups say. Pure functions; nullopt for a text that is cut
// off, or is not what it should be. Formats: proc(5), Documentation/accounting/psi.rst and
// Documentation/admin-guide/cgroup-v2.rst of Linux.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace bitmill {

// /proc/self/stat
struct SelfStat {
  int64_t minor_faults = 0, major_faults = 0;
  int64_t cpu_ticks = 0;  // user and system, of sysconf(_SC_CLK_TCK) a second
  int64_t threads = 0;
  int64_t resident_pages = 0;
};
std::optional<SelfStat> ParseSelfStat(absl::string_view text);

// /proc/stat; ticks are summed over all CPUs.
struct MachineStat {
  int64_t busy_ticks = 0;   // not idle, not waiting for a disk, not stolen
  int64_t steal_ticks = 0;  // a CPU was wanted, and the hypervisor ran somebody else
  int64_t total_ticks = 0;
  int cpus = 0;
  // Of the CPUs that `allowed` names alone.
  int64_t allowed_busy_ticks = 0;
  int allowed_cpus = 0;
};
std::optional<MachineStat> ParseMachineStat(
    absl::string_view text, absl::FunctionRef<bool(int cpu)> allowed = [](int) { return true; });

// /proc/pressure/*, or *.pressure of a control group: microseconds in which some, or all, tasks
// that were not idle waited for the resource. `full_us` is -1 where the kernel has no such line.
struct Pressure {
  int64_t some_us = -1, full_us = -1;
};
std::optional<Pressure> ParsePressure(absl::string_view text);

// /proc/self/task/*/schedstat: the time that the thread was ready to run and did not, nanoseconds.
struct ThreadSchedstat {
  int64_t run_ns = 0;
  int64_t wait_ns = 0;  // ready, but not running
};
std::optional<ThreadSchedstat> ParseThreadSchedstat(absl::string_view text);

// cpu.stat of a control group, v1 and v2.
struct CgroupCpuStat {
  bool can_throttle = false;  // v2: the group has the CPU controller; otherwise the rest is 0
  int64_t periods = 0, throttled_periods = 0;
  int64_t throttled_ns = 0;  // summed over the CPUs on which the group was held back
};
std::optional<CgroupCpuStat> ParseCgroupCpuStat(absl::string_view text);

// A limit in bytes; "max", and the number that means it in v1, are kNoLimit.
inline constexpr int64_t kNoLimit = INT64_MAX;
std::optional<int64_t> ParseMemoryLimit(absl::string_view text);

}  // namespace bitmill
