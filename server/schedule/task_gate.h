// Counts tasks that are inside something, and can be closed: from then on none comes in, and the
// closer waits until those inside have left.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

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

  // Touches the gate once: the closer may destroy it as soon as the last has left.
  void Leave(int64_t tasks) { inside_.fetch_sub(tasks); }

  // Looks every millisecond; it is called once, at the end, so that Leave() need not wake anybody.
  void CloseAndWait() {
    closed_.store(true);
    while (inside_.load() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  std::atomic<int64_t> inside_{0};
  std::atomic<bool> closed_{false};
};

}  // namespace bitmill
