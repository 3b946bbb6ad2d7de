// The Scheduler on a oneTBB task arena.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/fork_join.h"
#include "server/schedule/scheduler.h"

namespace bitmill {

struct SchedulerOptions {
  int workers = 1;     // at least 1: whole CPUs in the budget (oneTBB does not see cgroup quotas)
  int io_threads = 1;  // threads that call RunInline; each has a place of its own in the arena
};

class TbbScheduler : public Scheduler {
 public:
  // Lends the workers that are idle; enqueued work comes first. Lives as long as the scheduler.
  virtual ForkJoin& helpers() = 0;
};

// Destroying it waits for the work that was enqueued; work that waits for its time is dropped.
std::unique_ptr<TbbScheduler> CreateTbbScheduler(const SchedulerOptions& options,
                                                 const Clock& clock);

}  // namespace bitmill
