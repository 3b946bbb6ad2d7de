#include "server/schedule/timer_queue.h"

#include <utility>

#include "base/this_thread.h"

namespace bitmill {

TimerQueue::~TimerQueue() {
  std::thread thread;
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    thread.swap(thread_);
    changed_.NotifyOne();
  }
  if (thread.joinable()) thread.join();
}

void TimerQueue::Add(MonotonicNanos when, std::function<void()> work) {
  MutexLock lock(&mutex_);
  if (stop_) return;
  const auto added = waiting_.emplace(when, std::move(work));
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { Run(); });
  } else if (added == waiting_.begin()) {
    changed_.NotifyOne();
  }
}

void TimerQueue::Run() {
  NameThisThread("timer");
  mutex_.Lock();
  while (!stop_) {
    if (waiting_.empty()) {
      changed_.Wait(&mutex_);
      continue;
    }
    const MonotonicNanos wait_ns = waiting_.begin()->first - clock_.Now();
    if (wait_ns > 0) {
      changed_.WaitFor(&mutex_, wait_ns);
      continue;
    }
    std::function<void()> work = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    mutex_.Unlock();
    work();
    work = nullptr;  // what it holds is released without the lock
    mutex_.Lock();
  }
  mutex_.Unlock();
}

}  // namespace bitmill
