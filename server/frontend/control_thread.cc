#include "server/frontend/control_thread.h"

#include <utility>

#include "base/this_thread.h"

namespace bitmill {
namespace {
constexpr size_t kMaxWaiting = 256;
}  // namespace

ControlThread::ControlThread() : thread_([this] { Run(); }) {}

void ControlThread::Stop() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool ControlThread::TryPost(std::function<void()> work) {
  MutexLock lock(&mutex_);
  if (stop_ || waiting_.size() >= kMaxWaiting) return false;
  waiting_.push_back(std::move(work));
  changed_.NotifyAll();
  return true;
}

void ControlThread::Run() {
  NameThisThread("control");
  while (true) {
    std::function<void()> work;
    {
      MutexLock lock(&mutex_);
      while (!stop_ && waiting_.empty()) changed_.Wait(&mutex_);
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace bitmill
