#include "server/frontend/control_thread.h"

#include <utility>

namespace bitmill {
namespace {
constexpr size_t kMaxWaiting = 256;
}  // namespace

ControlThread::ControlThread() : thread_([this] { Run(); }) {}

ControlThread::~ControlThread() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

bool ControlThread::TryPost(std::function<void()> work) {
  absl::MutexLock lock(&mutex_);
  if (stop_ || waiting_.size() >= kMaxWaiting) return false;
  waiting_.push_back(std::move(work));
  return true;
}

void ControlThread::Run() {
  const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || !waiting_.empty();
  };
  while (true) {
    std::function<void()> work;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace bitmill
