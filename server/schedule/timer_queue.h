// Calls functions at their time, on a thread of its own that exists once something was added.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace bitmill {

class TimerQueue {
 public:
  explicit TimerQueue(const Clock& clock) : clock_(clock) {}
  // Drops what is still waiting; a function that is running is waited for.
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  // `work` must be short; it is called with no lock held. Thread-safe.
  void Add(MonotonicNanos when, std::function<void()> work);

 private:
  void Run();

  const Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  std::multimap<MonotonicNanos, std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
