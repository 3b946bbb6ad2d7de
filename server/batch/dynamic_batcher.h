// Gathers the requests of one model version into batches and runs up to `instances` of them at a
// time.
//
// A batch starts as soon as an instance is free (batch_policy.h may make it wait if a delay is
// configured); while all are busy the queue grows into the next batch. The task that was woken for
// one batch goes on until nothing is left, so that waking costs once for a burst; while other
// models wait for a worker it makes room after a millisecond at the latest, or the batch that runs
// then. A batch that is predicted to be shorter than `inline_limit_ns` runs on the submitting
// thread if that allows it: waking a worker costs 60 to 120 us of CPU at low load.
//
// Requests that are cancelled or past their deadline are rejected, never computed. A full queue
// first drops those, then refuses. With `admit_within_ns` a request is refused on arrival when it
// is predicted to be answered too late, or to make those late that are computed with it: what would
// miss is not worth computing.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/batch/admission.h"
#include "server/batch/batch_item.h"
#include "server/batch/batch_policy.h"
#include "server/batch/cost_model.h"
#include "server/batch/refusal.h"
#include "server/schedule/scheduler.h"

namespace bitmill {

// What the batcher calls.
class BatchRunner {
 public:
  virtual ~BatchRunner() = default;
  // Runs one batch and finishes its items; none is touched by the batcher afterwards. `rows` is the
  // sum of their rows. `instance` (0 .. instances - 1) is used by one call at a time. Returns the
  // time the computation took, for the prediction; 0: do not count it.
  virtual int64_t RunBatch(absl::Span<BatchItem* const> items, int64_t rows, int instance) = 0;
  // Finishes an item that is not run.
  virtual void Reject(BatchItem& item, const absl::Status& status) = 0;
  // Keeps runner and batcher alive while it is held. Asked of an item that is not finished; cheap,
  // and the only call made with the queue's lock held.
  virtual std::shared_ptr<const void> KeepAlive(const BatchItem& item) = 0;
};

struct BatcherOptions {
  std::string name = {};  // of the model, for messages
  BatchLimits limits;
  bool gather = true;  // false: a request is a batch of its own
  int instances = 1;
  int64_t max_queue_requests = 1024;
  MonotonicNanos inline_limit_ns = 0;           // 0: never on the submitting thread
  std::atomic<int64_t>* queue_depth = nullptr;  // kept at the number of waiting requests
};

// What may be changed while requests are served.
struct BatchControls {
  int64_t max_rows = 1;                // of an execution; a larger request runs alone
  MonotonicNanos max_delay_ns = 0;     // longest wait for more rows
  int instances = 1;                   // executions at a time
  int64_t max_queue_requests = 1024;   // more are refused
  MonotonicNanos admit_within_ns = 0;  // from received to answered, as predicted; 0: no limit
};

class DynamicBatcher {
 public:
  // Borrows everything; `runner` outlives it.
  DynamicBatcher(const BatcherOptions& options, BatchRunner& runner, Scheduler& scheduler,
                 const Clock& clock);
  ~DynamicBatcher();

  // Queues all items, then starts what can start: items given together are batched together.
  // Every item ends in RunBatch or Reject, perhaps before this returns. Rows of an item are
  // 1 .. max rows (checked by the caller). Thread-safe.
  void Submit(absl::Span<BatchItem* const> items, bool may_run_inline);

  // Nothing waits for company any more; returns once nothing waits or runs. Whoever found the model
  // before it was taken out may still submit, and is served: a replacement fails no request.
  void Drain();

  // Takes effect at once for what waits and for what comes; what runs is not touched. Values are
  // brought into their bounds: rows and instances are 1 .. what the batcher was created with, a
  // queue holds at least 1. The caller keeps runner and batcher alive meanwhile. Thread-safe.
  void SetControls(const BatchControls& controls);
  BatchControls controls() const;  // in effect; thread-safe

  CostModel& cost_model() { return cost_model_; }
  int64_t waiting() const;

 private:
  static constexpr int kPriorities = 8;  // lower ones share the last
  struct Fifo {
    BatchItem* head = nullptr;
    BatchItem* tail = nullptr;
    int64_t items = 0;
    int64_t rows = 0;
  };
  using Items = absl::InlinedVector<BatchItem*, 16>;
  // How the loop of an execution came to run.
  enum class Where : uint8_t { kInline, kWorker };

  // An item that was not queued.
  struct Refusal {
    BatchItem* item = nullptr;
    TooLate why = {};  // late_ns 0: the queue is full
  };
  using Refusals = absl::InlinedVector<Refusal, 4>;
  using Frees = absl::InlinedVector<MonotonicNanos, 16>;

  // Returns false when `item` is refused; `refusal` then says why.
  bool TryQueue(BatchItem& item, MonotonicNanos now, Items& dead, Refusal& refusal)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Until an instance that starts so many rows can start the next.
  int64_t OccupiedNanos(int64_t rows, int beside) const;
  // How much too late an item would be answered, were it queued now; 0: in time. It is then part of
  // what the admission knows.
  MonotonicNanos Lateness(const BatchItem& item, MonotonicNanos due_ns, MonotonicNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // When each instance in use can start something new.
  Frees FreeAt(MonotonicNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int Busy() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // instances that run or begin to
  static size_t LevelOf(const BatchItem& item);            // of the queue
  void Push(BatchItem& item, MonotonicNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Bookkeeping for an item that left `fifo`.
  void Forget(Fifo& fifo, const BatchItem& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeDead(MonotonicNanos now, Items& dead) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  QueueState State(MonotonicNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes items of at most `decision.rows` rows, most important first; returns their rows.
  int64_t Take(const BatchDecision& decision, MonotonicNanos now, Items& items)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One more execution may start: fewer run than `controls_.instances`.
  bool HasIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // More run than `controls_.instances`, since that was lowered.
  bool HasSurplus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int TakeInstance(MonotonicNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReturnInstance(int instance) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The formation clock runs while an execution could start and no worker is on its way to one:
  // what waits then, waits for company.
  int64_t FormationClock(MonotonicNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateFormationClock(MonotonicNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PublishDepth() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const BatchItem& AnyWaiting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What to do once the lock is released: workers to wake, each with its instance, or a time to ask
  // again.
  struct Wakes {
    absl::InlinedVector<int, 4> instances;
    MonotonicNanos ask_again_ns = 0;
  };
  // Finds batches that can start and that nobody was woken for yet.
  Wakes Dispatch(MonotonicNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Launch(const Wakes& wakes, MonotonicNanos now,
              const std::shared_ptr<const void>& keep_alive);
  // When what a loop takes was woken for, was begun with, and starts; and where.
  struct LoopTimes {
    MonotonicNanos scheduled_ns = 0, started_ns = 0, now_ns = 0;
    Where where = Where::kWorker;
  };
  // Runs batches until none can start; `instance` was taken for it. The caller holds `keep_alive`.
  void Loop(int instance, Where where, MonotonicNanos scheduled_ns,
            const std::shared_ptr<const void>& keep_alive);
  // Splits `items` into those to run, which it marks with their times, and `dead` ones; returns the
  // rows to run.
  static int64_t MarkTaken(Items& items, Items& dead, const LoopTimes& times);
  void FinishDead(const Items& dead, MonotonicNanos now);
  void FinishRefused(const Refusals& refusals, const BatchControls& controls);

  const BatcherOptions options_;
  const int64_t max_rows_;  // as created; controls_ may say less
  BatchRunner& runner_;
  Scheduler& scheduler_;
  const Clock& clock_;
  CostModel cost_model_;
  // Of instances: also what comes before and after the computation, above all finishing the items.
  CostModel occupied_;
  const std::shared_ptr<Flow> flow_ = std::make_shared<Flow>();

  mutable Mutex mutex_;
  CondVar idle_;                                // an instance became free while draining
  BatchLimits limits_ ABSL_GUARDED_BY(mutex_);  // options_.limits with the controls
  BatchControls controls_ ABSL_GUARDED_BY(mutex_);
  std::array<Fifo, kPriorities> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t waiting_rows_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t with_deadline_ ABSL_GUARDED_BY(mutex_) = 0;  // of those waiting
  std::vector<int> idle_instances_ ABSL_GUARDED_BY(mutex_);
  // When each instance is predicted to start its next execution, if admit_within_ns is set since it
  // began; 0: it is idle.
  std::vector<MonotonicNanos> free_at_ns_ ABSL_GUARDED_BY(mutex_);
  Admission admission_ ABSL_GUARDED_BY(mutex_);
  // From waking a worker until it begins, averaged over batches: short on an idle machine, other
  // models' turns on a busy one.
  MonotonicNanos wake_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t formation_ns_ ABSL_GUARDED_BY(mutex_) = 0;               // of the clock, when it stopped
  MonotonicNanos formation_since_ns_ ABSL_GUARDED_BY(mutex_) = 0;  // it runs since; 0: stopped
  int64_t woken_ ABSL_GUARDED_BY(mutex_) = 0;            // workers woken that have not begun
  MonotonicNanos timer_ns_ ABSL_GUARDED_BY(mutex_) = 0;  // earliest armed; 0: none
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bitmill
