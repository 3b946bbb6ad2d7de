// The control groups of this process: how long they were held back, how much memory they may use.
// Both versions, and the groups above the own one, since a limit of any of them binds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "base/pseudo_file.h"
#include "server/analysis/pressure_reader.h"
#include "server/analysis/proc_text.h"
#include "server/analysis/running_total.h"

namespace bitmill {

// Counts go from when the reader was made; -1: cannot be read.
struct CgroupTotals {
  int64_t periods = -1, throttled_periods = -1;
  int64_t throttled_ns = -1;  // summed over CPUs
  int64_t memory_used_bytes = -1;
  int64_t memory_limit_bytes = -1;  // kNoLimit: none
  int64_t memory_limit_hits = -1;
  Pressure cpu, memory, io;  // of the own group, by its own clock; v2
};

// Used by one thread.
class CgroupReader {
 public:
  explicit CgroupReader(const std::string& filesystem_root);

  // Looks whether the process was moved to other groups, and opens their files if so.
  void FollowProcess(absl::Span<char> buffer);
  // Of each span between two calls the group that was held back longest counts.
  void ReadCpu(absl::Span<char> buffer);
  // Use and limit are those of the group with the least room left.
  void ReadMemory(absl::Span<char> buffer);
  void ReadPressure(absl::Span<char> buffer);

  const CgroupTotals& totals() const { return totals_; }

 private:
  struct CpuGroup {
    PseudoFile stat;
    int skip = 0;  // calls of ReadCpu(): it could not be held back when last read
    RunningTotal periods, throttled_periods, throttled_ns;
  };
  struct MemoryGroup {
    bool v2 = false;
    PseudoFile used, limit, high, events;  // v1: events is failcnt, and there is no high
    RunningTotal hits;
  };
  void OpenFiles();
  static int64_t LimitOf(MemoryGroup& group, absl::Span<char> buffer);

  const std::string root_;
  PseudoFile membership_;
  std::string membership_text_;
  std::vector<CpuGroup> cpu_groups_;
  std::vector<MemoryGroup> memory_groups_;
  PressureReader cpu_pressure_, memory_pressure_, io_pressure_;
  CgroupCpuStat cpu_sum_;
  int64_t hits_sum_ = 0;
  CgroupTotals totals_;
};

}  // namespace bitmill
