#include "server/analysis/quality/shadow.h"

#include <utility>

#include "base/this_thread.h"

namespace bitmill {

int64_t ShadowRequest::bytes() const {
  size_t sum = request_id.size();
  for (const auto& input : inputs) sum += input.size();
  for (const auto& output : outputs) sum += output.size();
  return static_cast<int64_t>(sum);
}

const ShadowServer* ShadowRuns::server() const {
  MutexLock lock(&mutex_);
  return server_;
}

bool ShadowRuns::HasRoom(int64_t bytes) const {
  MutexLock lock(&mutex_);
  return server_ != nullptr && queue_.size() < limits_.max_requests &&
         queued_bytes_ + bytes <= limits_.max_bytes;
}

bool ShadowRuns::Offer(std::shared_ptr<ShadowListener> listener, ShadowRequest request) {
  const int64_t bytes = request.bytes();
  return Enqueue({std::move(listener), std::move(request), nullptr, bytes});
}

bool ShadowRuns::OfferWork(int64_t bytes, std::function<void()> work) {
  return Enqueue({nullptr, {}, std::move(work), bytes});
}

bool ShadowRuns::Enqueue(Waiting waiting) {
  MutexLock lock(&mutex_);
  if (server_ == nullptr || queue_.size() >= limits_.max_requests ||
      queued_bytes_ + waiting.bytes > limits_.max_bytes) {
    return false;
  }
  queued_bytes_ += waiting.bytes;
  queue_.push_back(std::move(waiting));
  changed_.NotifyOne();
  return true;
}

void ShadowRuns::StartWithoutThread(ShadowServer& server) {
  MutexLock lock(&mutex_);
  server_ = &server;
}

void ShadowRuns::Start(ShadowServer& server) {
  StartWithoutThread(server);
  thread_ = std::thread([this] { Work(); });
}

void ShadowRuns::Stop() {
  std::deque<Waiting> forgotten;
  {
    MutexLock lock(&mutex_);
    server_ = nullptr;
    stopped_ = true;
    forgotten.swap(queue_);
    queued_bytes_ = 0;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool ShadowRuns::RunOne() {
  Waiting next;
  ShadowServer* server = nullptr;
  {
    MutexLock lock(&mutex_);
    if (queue_.empty() || server_ == nullptr) return false;
    next = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= next.bytes;
    server = server_;
  }
  if (next.listener == nullptr) {
    next.work();
    return true;
  }
  const ShadowOutcome outcome = server->Run(next.request);
  next.listener->OnShadow(next.request, outcome);
  return true;
}

void ShadowRuns::Work() {
  NameThisThread("shadow");
  WorkInBackground();
  for (;;) {
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopped_) changed_.Wait(&mutex_);
      if (stopped_) return;
    }
    RunOne();
  }
}

}  // namespace bitmill
