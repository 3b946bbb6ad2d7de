// A thread for calls that may take long (loading a model), so that they never hold up I/O.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"

#include "base/mutex.h"

namespace bitmill {

class ControlThread {
 public:
  ControlThread();
  ~ControlThread() { Stop(); }
  // Finishes what was accepted, accepts nothing more.
  void Stop();

  // False when too much waits already: nothing was accepted. Thread-safe.
  bool TryPost(std::function<void()> work);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bitmill
