// A scheduler without threads: work is kept until the test runs it.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "server/schedule/scheduler.h"

namespace bitmill {

class FakeScheduler final : public Scheduler {
 public:
  explicit FakeScheduler(int concurrency = 1) : concurrency_(concurrency) {}

  int concurrency() const override { return concurrency_; }
  void Enqueue(const std::shared_ptr<Flow>&, std::function<void()> work) override {
    queue.push_back(std::move(work));
  }
  bool contended() const override { return others_wait; }
  void EnqueueAt(MonotonicNanos when, std::function<void()> work) override {
    timers.emplace(when, std::move(work));
  }
  void RunInline(absl::FunctionRef<void()> work) override {
    ++inline_runs;
    work();
  }

  // Runs what was enqueued, in order, also what that enqueues; returns how much it was.
  int RunAll() {
    int runs = 0;
    for (; !queue.empty(); ++runs) {
      const std::function<void()> work = std::move(queue.front());
      queue.pop_front();
      work();
    }
    return runs;
  }
  // Runs the timers that are due.
  void RunTimers(MonotonicNanos now) {
    while (!timers.empty() && timers.begin()->first <= now) {
      const std::function<void()> work = std::move(timers.begin()->second);
      timers.erase(timers.begin());
      work();
    }
  }

  std::deque<std::function<void()>> queue;
  std::multimap<MonotonicNanos, std::function<void()>> timers;
  int inline_runs = 0;
  bool others_wait = false;

 private:
  const int concurrency_;
};

}  // namespace bitmill
