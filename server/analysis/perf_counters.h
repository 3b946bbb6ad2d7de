// The processor's event counters for this process, where the system lets it read them. On most
// virtual machines there are none, and in containers the call is often forbidden: that is an answer
// with a reason, never an error, and the analysis does without.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace bitmill {

// Counts of the process's threads in user mode, since opened. Where the kernel had to take turns
// because there are more events than counters, extrapolated to the whole time. -1: the processor
// does not have that event.
struct PerfReading {
  int64_t cycles = -1, instructions = -1;
  int64_t cache_misses = -1;  // of the last level
  int64_t branch_misses = -1;
};

class PerfReader {
 public:
  virtual ~PerfReader() = default;
  virtual PerfReading Read() = 0;  // by one thread at a time
};

// Of the calling thread and of all threads that it, and they, start from now on: to be called
// before there are others. Unavailable, with the reason, when not even cycles can be counted.
absl::StatusOr<std::unique_ptr<PerfReader>> OpenPerfEvents();

// A count of `counted` in `running` of `enabled` nanoseconds, for all of them; -1 when it never
// ran.
int64_t ExtrapolateCount(int64_t counted, int64_t enabled_ns, int64_t running_ns);

// What happened between two readings; -1: not known.
struct PerfWindow {
  double instructions_per_cycle = -1;
  double cache_misses_per_s = -1;
  double branch_misses_per_s = -1;
  // Cache misses times the line of 64 bytes. Too low where the prefetchers fetch lines that the
  // event does not count, and without what is written back.
  double memory_bytes_per_s_estimate = -1;
};
PerfWindow PerfBetween(const PerfReading& first, const PerfReading& last, double seconds);

}  // namespace bitmill
