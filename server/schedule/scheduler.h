// Where work runs: a pool of workers sized from the CPU budget, and the threads that do I/O, which
// may join it for work so short that waking a worker would cost more than doing it.
#pragma once

#include <functional>
#include <memory>

#include "absl/functional/function_ref.h"
#include "base/clock.h"
#include "server/schedule/fair_queue.h"

namespace bitmill {

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // Workers that run at the same time.
  virtual int concurrency() const = 0;

  // Runs `work` on a worker, soon; never on the calling thread. Where more waits than there are
  // workers, flows share them by the time that their work takes. Thread-safe. Work must not throw.
  virtual void Enqueue(const std::shared_ptr<Flow>& flow, std::function<void()> work) = 0;

  // Whether enqueued work waits for a worker, so that long work should make room now and then: it
  // enqueues the rest of itself and returns. Cheap; thread-safe.
  virtual bool contended() const = 0;

  // Runs short work, not before the monotonic time `when`. Precise to about 100 us.
  virtual void EnqueueAt(MonotonicNanos when, std::function<void()> work) = 0;

  // Runs `work` before returning, on the calling thread as a member of the pool.
  virtual void RunInline(absl::FunctionRef<void()> work) = 0;
};

}  // namespace bitmill
