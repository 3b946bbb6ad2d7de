// The Scheduler on a oneTBB task arena.
#pragma once

#include <memory>

#include "base/clock.h"
#include "server/schedule/scheduler.h"

namespace bitmill {

struct SchedulerOptions {
  int workers = 1;     // at least 1: whole CPUs in the budget (oneTBB does not see cgroup quotas)
  int io_threads = 1;  // threads that call RunInline; each has a place of its own in the arena
};

// Destroying it waits for the work that was enqueued; work that waits for its time is dropped.
std::unique_ptr<Scheduler> CreateTbbScheduler(const SchedulerOptions& options, const Clock& clock);

}  // namespace bitmill
