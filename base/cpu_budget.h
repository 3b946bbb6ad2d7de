// How many CPUs this process may use. Thread pools are sized from it: a container with a quota of
// two CPUs on a machine of 64 would otherwise run 64 threads and be throttled most of the time.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace bitmill {

struct CpuBudget {
  int cpus = 1;        // whole CPUs, at least 1
  double cores = 1;    // before rounding down, for people and metrics
  std::string source;  // what bound it: "cgroup v2 quota 2.50 in /kubepods/pod1", "affinity mask"
};

struct CpuBudgetOptions {
  double override_cpus = 0;     // above 0: an upper limit given by the operator
  std::string filesystem_root;  // "" in production; tests put /proc and /sys below a folder
  int affinity_cpus = 0;        // CPUs in the affinity mask; 0: ask the system
};

// The smallest of: the affinity mask, the cpuset and the CPU quota of this process's cgroup and of
// every cgroup above it (v1 and v2), and the override. A file that is missing or cannot be read as
// what it should be binds nothing. InvalidArgument when the override is negative or not finite.
absl::StatusOr<CpuBudget> DetectCpuBudget(const CpuBudgetOptions& options);

}  // namespace bitmill
