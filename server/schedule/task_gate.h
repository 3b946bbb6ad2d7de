// Counts tasks that are inside something, and can be closed: from then on none comes in, and the
// closer waits until those inside have left.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/synchronization/mutex.h"

namespace bitmill {

class TaskGate {
 public:
  // False when closed: nothing was counted.
  bool Enter(int64_t tasks) {
    inside_.fetch_add(tasks);
    if (!closed_.load()) return true;
    Leave(tasks);
    return false;
  }

  void Leave(int64_t tasks) {
    if (inside_.fetch_sub(tasks) == tasks && closed_.load()) {
      absl::MutexLock lock(&mutex_);  // wakes the closer, which looks again
    }
  }

  void CloseAndWait() {
    closed_.store(true);
    const auto empty = [this] { return inside_.load() == 0; };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&empty));
  }

 private:
  std::atomic<int64_t> inside_{0};
  std::atomic<bool> closed_{false};
  absl::Mutex mutex_;  // guards nothing; carries the wake-up
};

}  // namespace bitmill
