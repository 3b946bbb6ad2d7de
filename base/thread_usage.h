// What the calling thread has had of the machine: taken before and after a piece of work, the
// difference says why it took as long as it did.
//
// Made to be cheap (docs/analysis_collect.md has the figures): while a thread has not left its CPU
// since its last snapshot, one system call is enough, which also counts the times that it left;
// only when it has are its two clocks read.
#pragma once

#include <cstdint>

namespace bitmill {

// Counts since the thread began; -1: the system does not tell.
struct ThreadUsage {
  int64_t cpu_ns = -1;             // on a CPU, interrupts and stolen time included
  int64_t run_queue_wait_ns = -1;  // ready to run, but not on a CPU
  int64_t blocked = -1;            // times that it went to sleep by itself: for a lock, for a disk
  int64_t preempted = -1;          // times that its CPU was taken from it
  int64_t minor_faults = -1, major_faults = -1;

  // What happened in between; -1 where either side is.
  friend ThreadUsage operator-(const ThreadUsage& end, const ThreadUsage& begin);
};

// Of the calling thread. The first call of a thread opens a file, which is closed when it ends.
ThreadUsage ThreadUsageNow();

}  // namespace bitmill
