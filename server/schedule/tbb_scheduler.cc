// One arena with `workers` slots for oneTBB's threads and a reserved slot for each I/O thread.
//
// oneTBB creates one thread fewer than the affinity mask has CPUs, because it counts the thread
// that waits for the result as a worker. Ours does I/O, so the limit is raised to give all workers.
#include "server/schedule/tbb_scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/hand_off.h"
#include "server/schedule/task_gate.h"
#include "server/schedule/timer_queue.h"
#include "tbb/global_control.h"
#include "tbb/task_arena.h"

namespace bitmill {
namespace {

class TbbScheduler final : public Scheduler {
 public:
  TbbScheduler(const SchedulerOptions& options, const Clock& clock)
      : workers_(options.workers),
        limit_(tbb::global_control::max_allowed_parallelism,
               static_cast<size_t>(options.workers) + 1),
        arena_(options.workers + options.io_threads, static_cast<unsigned>(options.io_threads)),
        timers_(clock) {
    arena_.initialize();
  }

  ~TbbScheduler() override { gate_.CloseAndWait(); }

  int concurrency() const override { return workers_; }

  void Enqueue(std::function<void()> work) override {
    if (!gate_.Enter(1)) return;
    auto job = std::make_unique<Job>(Job{this, std::move(work)});
    HandOff(job.get());
    arena_.enqueue(Runner{job.release()});
  }

  void EnqueueAt(MonotonicNanos when, std::function<void()> work) override {
    timers_.Add(when, [this, moved = std::move(work)]() mutable { Enqueue(std::move(moved)); });
  }

  void RunInline(absl::FunctionRef<void()> work) override { arena_.execute(work); }

 private:
  struct Job {
    TbbScheduler* scheduler;
    std::function<void()> work;
  };

  // What oneTBB carries to a worker; it owns the job.
  struct Runner {
    BITMILL_NO_THREAD_SANITIZER void operator()() const { RunJob(job); }
    Job* job;
  };

  static void RunJob(Job* taken) {
    TakeOver(taken);
    std::unique_ptr<Job> job(taken);
    job->work();
    TaskGate& gate = job->scheduler->gate_;
    job = nullptr;  // what it holds goes before the scheduler may
    gate.Leave(1);
  }

  const int workers_;
  tbb::global_control limit_;
  tbb::task_arena arena_;
  TaskGate gate_;
  TimerQueue timers_;  // first to go: it enqueues into the others
};

}  // namespace

std::unique_ptr<Scheduler> CreateTbbScheduler(const SchedulerOptions& options, const Clock& clock) {
  BITMILL_CHECK(options.workers >= 1 && options.io_threads >= 1);
  return std::make_unique<TbbScheduler>(options, clock);
}

}  // namespace bitmill
