// What looking at the host costs (docs/analysis_collect.md): CPU time of HostSampler::Sample() at
// ten a second beside a number of threads, and of a pair of ThreadUsageNow().
//
//   bitmill_host_cost [threads]
//
// CPU time, not wall time, and the median and the smallest of several rounds: other work on the
// machine matters little then.
#include <poll.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_usage.h"
#include "bench/analysis/cost.h"
#include "server/analysis/host_sampler.h"

namespace bitmill {
namespace {

// Threads that wait, as most of a server do.
class IdleThreads {
 public:
  explicit IdleThreads(int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] {
        std::unique_lock lock(mutex_);
        stopping_.wait(lock, [this] { return stop_; });
      });
    }
  }
  ~IdleThreads() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    stopping_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

void SampleCost(int threads) {
  constexpr int kSamplesASecond = 10, kSeconds = 5;
  const IdleThreads idle(threads);
  const SystemClock clock;
  HostSampler sampler({.perf = OpenPerfEvents()}, clock);
  const int64_t first_begin = ThreadCpuNanos();
  sampler.Sample();
  std::printf("first sample, opening the files: %.0f us\n",
              static_cast<double>(ThreadCpuNanos() - first_begin) * 1e-3);
  const Cost second = CostOf(kSeconds, 1, [&] {
    for (int i = 0; i < kSamplesASecond; ++i) {
      sampler.Sample();
      poll(nullptr, 0, 1'000 / kSamplesASecond);
    }
  });
  std::printf("a second of ten samples beside %d threads: median %.3f ms, least %.3f ms\n", threads,
              second.median * 1e-6, second.least * 1e-6);
}

void UsageCost() {
  constexpr int kRounds = 21, kCalls = 1'000;
  const Cost staying = CostOf(kRounds, kCalls, [] {
    for (int i = 0; i < kCalls; ++i) {
      const ThreadUsage begin = ThreadUsageNow();
      static_cast<void>(ThreadUsageNow() - begin);
    }
  });
  std::printf("a pair of snapshots, on its CPU all the time: median %.0f ns, least %.0f ns\n",
              staying.median, staying.least);
  constexpr int kSleeps = 100;
  const auto sleep = [] { poll(nullptr, 0, 1); };
  const Cost sleeping = CostOf(kRounds, kSleeps, [&] {
    for (int i = 0; i < kSleeps; ++i) sleep();
  });
  const Cost measured = CostOf(kRounds, kSleeps, [&] {
    for (int i = 0; i < kSleeps; ++i) {
      sleep();
      const ThreadUsage begin = ThreadUsageNow();
      static_cast<void>(ThreadUsageNow() - begin);
    }
  });
  std::printf("a pair after each wake-up, less the wake-up: median %.0f ns, least %.0f ns\n",
              measured.median - sleeping.median, measured.least - sleeping.least);
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) {
  bitmill::UsageCost();
  bitmill::SampleCost(argc > 1 ? std::max(0, std::atoi(argv[1])) : 50);
  return 0;
}
