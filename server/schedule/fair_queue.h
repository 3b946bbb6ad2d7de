// Work that waits for a worker, in the order of fair queuing: among the flows (models, for example)
// that have work waiting, the one whose work took the least time so far comes next. A flow that was
// idle comes in at the time of those that were served last: it gets its share from then on, and
// nothing for the past.
//
// Start-time fair queuing (https://doi.org/10.1109/90.649569), with times that are measured: a
// piece of work is charged what the flow's last one took when it starts, and the difference when it
// ends.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace bitmill {

// All state belongs to the queue that the flow's work goes to.
class Flow {
 private:
  friend class FairQueue;
  std::deque<std::pair<uint64_t, std::function<void()>>> waiting;  // number of arrival, work
  MonotonicNanos used = 0;  // virtual time: when its next work starts
  MonotonicNanos last = 0;  // what its last work took
  int running = 0;
};

// Thread-safe.
class FairQueue {
 public:
  struct Work {
    std::shared_ptr<Flow> flow;
    std::function<void()> run;
    MonotonicNanos charged = 0;
  };

  void Push(const std::shared_ptr<Flow>& flow, std::function<void()> run);
  // There must be work: calls are as many as those of Push().
  Work Pop();
  // The work that Pop() returned is done and took `nanos`.
  void Finish(const Work& work, MonotonicNanos nanos);

 private:
  Mutex mutex_;
  std::vector<std::shared_ptr<Flow>> waiting_
      ABSL_GUARDED_BY(mutex_);                      // flows with work, any order
  MonotonicNanos now_ ABSL_GUARDED_BY(mutex_) = 0;  // virtual: start of the work popped last
  uint64_t arrivals_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace bitmill
