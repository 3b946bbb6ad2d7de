// One arena with `workers` slots for oneTBB's threads and a reserved slot for each I/O thread.
//
// oneTBB creates one thread fewer than the affinity mask has CPUs, because it counts the thread
// that waits for the result as a worker. Ours does I/O, so the limit is raised to give all workers.
//
// A worker without enqueued work may be called to help a computation (helper_board.h). It stays
// while the computation lasts, through steps that are too short to be shared, and goes at once when
// work is enqueued. So helpers and enqueued work together never take more than the workers.
#include "server/schedule/tbb_scheduler.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/check.h"
#include "base/hand_off.h"
#include "base/pause.h"
#include "base/this_thread.h"
#include "server/schedule/helper_board.h"
#include "server/schedule/task_gate.h"
#include "server/schedule/timer_queue.h"
#include "tbb/global_control.h"
#include "tbb/task_arena.h"
#include "tbb/task_scheduler_observer.h"

namespace bitmill {
namespace {

// Longer than waking a worker takes, and than most of what runs between two shared steps.
constexpr MonotonicNanos kStayNanos = 100'000;
// A helper that was called and has not come by then has no CPU: others on the machine want it.
constexpr MonotonicNanos kComingNanos = 200'000;
constexpr int kPausesPerLook = 4;

// Names oneTBB's threads when they come to work here.
class Namer final : public tbb::task_scheduler_observer {
 public:
  explicit Namer(tbb::task_arena& arena) : task_scheduler_observer(arena) {}
  ~Namer() override { observe(false); }
  void on_scheduler_entry(bool is_worker) override {
    thread_local bool named = false;
    if (is_worker && !std::exchange(named, true)) NameThisThread("worker");
  }
};

class Workers final : public TbbScheduler, private ForkJoin {
 public:
  Workers(const SchedulerOptions& options, const Clock& clock)
      : workers_(options.workers),
        limit_(tbb::global_control::max_allowed_parallelism,
               static_cast<size_t>(options.workers) + 1),
        arena_(options.workers + options.io_threads, static_cast<unsigned>(options.io_threads)),
        namer_(arena_),
        clock_(clock),
        board_(options.workers + options.io_threads),
        timers_(clock) {
    arena_.initialize();
    namer_.observe(true);
  }

  ~Workers() override { gate_.CloseAndWait(); }

  int concurrency() const override { return workers_; }

  void Enqueue(const std::shared_ptr<Flow>& flow, std::function<void()> work) override {
    if (!gate_.Enter(1)) return;
    waiting_.Push(flow, std::move(work));
    queued_.fetch_add(1, std::memory_order_relaxed);
    HandOff(this);
    arena_.enqueue(Runner{this});
  }

  bool contended() const override { return queued_.load(std::memory_order_relaxed) > 0; }

  void EnqueueAt(MonotonicNanos when, std::function<void()> work) override {
    timers_.Add(when,
                [this, moved = std::move(work)]() mutable { Enqueue(timed_, std::move(moved)); });
  }

  void RunInline(absl::FunctionRef<void()> work) override { arena_.execute(work); }

  ForkJoin& helpers() override { return *this; }

 private:
  int width() const override { return workers_; }

  int Enter(int width) override {
    const int place = board_.Enter();
    if (place >= 0) CallHelpers(width - 1);
    return place;
  }

  void Leave(int place) override { board_.Leave(place); }

  bool Call(int place, int width) override {
    if (place < 0 || width < 2) return false;
    CallHelpers(width - 1);
    return near_helpers_.load(std::memory_order_relaxed) > 0 ||
           clock_.Now() - called_ns_.load(std::memory_order_relaxed) < kComingNanos;
  }

  void Run(int place, int width, absl::FunctionRef<void(int slot)> work) override {
    board_.Run(place, width, work);
  }

  // Calls as many idle workers as are missing to `wanted` helpers that are free. The counts may be
  // a moment old: a helper too many finds nothing and goes, one that is missing is called at the
  // next step.
  void CallHelpers(int wanted) {
    const int missing = wanted - free_helpers_.load(std::memory_order_relaxed);
    if (missing <= 0) return;
    const int idle = workers_ - helpers_.load(std::memory_order_relaxed) -
                     running_.load(std::memory_order_relaxed) -
                     queued_.load(std::memory_order_relaxed);
    if (idle > 0) called_ns_.store(clock_.Now(), std::memory_order_relaxed);
    for (int i = std::min(missing, idle); i > 0; --i) {
      if (!gate_.Enter(1)) return;
      helpers_.fetch_add(1, std::memory_order_relaxed);
      free_helpers_.fetch_add(1, std::memory_order_relaxed);
      HandOff(this);
      arena_.enqueue(Helper{this});
    }
  }

  void HelpOthers() {
    near_helpers_.fetch_add(1, std::memory_order_relaxed);
    MonotonicNanos helped_ns = clock_.Now();
    const auto before = [this] { free_helpers_.fetch_sub(1, std::memory_order_relaxed); };
    const auto after = [this] { free_helpers_.fetch_add(1, std::memory_order_relaxed); };
    while (board_.occupied() && queued_.load(std::memory_order_relaxed) == 0) {
      if (board_.Help(before, after)) {
        helped_ns = clock_.Now();
        continue;
      }
      if (clock_.Now() - helped_ns > kStayNanos) break;
      for (int i = 0; i < kPausesPerLook; ++i) CpuPause();
    }
    near_helpers_.fetch_sub(1, std::memory_order_relaxed);
    free_helpers_.fetch_sub(1, std::memory_order_relaxed);
    helpers_.fetch_sub(1, std::memory_order_relaxed);
    gate_.Leave(1);
  }

  // What oneTBB carries to a worker: there is work for it, whose is decided when it comes.
  struct Runner {
    BITMILL_NO_THREAD_SANITIZER void operator()() const { RunNext(scheduler); }
    Workers* scheduler;
  };

  struct Helper {
    BITMILL_NO_THREAD_SANITIZER void operator()() const { RunHelper(scheduler); }
    Workers* scheduler;
  };

  static void RunNext(Workers* scheduler) {
    TakeOver(scheduler);
    scheduler->RunNextWork();
  }

  void RunNextWork() {
    FairQueue::Work work = waiting_.Pop();
    running_.fetch_add(1, std::memory_order_relaxed);
    queued_.fetch_sub(1, std::memory_order_relaxed);
    const MonotonicNanos started_ns = clock_.Now();
    work.run();
    work.run = nullptr;  // what it holds goes before the scheduler may
    waiting_.Finish(work, clock_.Now() - started_ns);
    running_.fetch_sub(1, std::memory_order_relaxed);
    gate_.Leave(1);
  }

  static void RunHelper(Workers* scheduler) {
    TakeOver(scheduler);
    scheduler->HelpOthers();
  }

  const int workers_;
  tbb::global_control limit_;
  tbb::task_arena arena_;
  Namer namer_;
  const Clock& clock_;
  HelperBoard board_;
  FairQueue waiting_;
  const std::shared_ptr<Flow> timed_ = std::make_shared<Flow>();
  // Enqueued work that waits for a worker, and that has one; helpers, called or here; those of them
  // that have nothing to do; those that are here.
  std::atomic<int> queued_{0}, running_{0}, helpers_{0}, free_helpers_{0}, near_helpers_{0};
  std::atomic<MonotonicNanos> called_ns_{0};  // when one was called last
  TaskGate gate_;
  TimerQueue timers_;  // first to go: it enqueues into the others
};

}  // namespace

std::unique_ptr<TbbScheduler> CreateTbbScheduler(const SchedulerOptions& options,
                                                 const Clock& clock) {
  BITMILL_CHECK(options.workers >= 1 && options.io_threads >= 1);
  return std::make_unique<Workers>(options, clock);
}

}  // namespace bitmill
