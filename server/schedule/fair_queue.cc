#include "server/schedule/fair_queue.h"

#include <algorithm>

#include "base/check.h"

namespace bitmill {

void FairQueue::Push(const std::shared_ptr<Flow>& flow, std::function<void()> run) {
  MutexLock lock(&mutex_);
  if (flow->waiting.empty()) {
    if (flow->running == 0) flow->used = std::max(flow->used, now_);
    waiting_.push_back(flow);
  }
  flow->waiting.emplace_back(arrivals_++, std::move(run));
}

FairQueue::Work FairQueue::Pop() {
  MutexLock lock(&mutex_);
  BITMILL_CHECK(!waiting_.empty());
  const auto next =
      std::min_element(waiting_.begin(), waiting_.end(), [](const auto& a, const auto& b) {
        return std::pair(a->used, a->waiting.front().first) <
               std::pair(b->used, b->waiting.front().first);
      });
  Work work{*next, std::move((*next)->waiting.front().second), (*next)->last};
  Flow& flow = *work.flow;
  flow.waiting.pop_front();
  if (flow.waiting.empty()) {
    *next = std::move(waiting_.back());
    waiting_.pop_back();
  }
  now_ = std::max(now_, flow.used);
  flow.used += work.charged;
  ++flow.running;
  return work;
}

void FairQueue::Finish(const Work& work, MonotonicNanos nanos) {
  MutexLock lock(&mutex_);
  Flow& flow = *work.flow;
  flow.used += nanos - work.charged;
  flow.last = nanos;
  --flow.running;
}

}  // namespace bitmill
