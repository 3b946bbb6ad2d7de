// Gathers the requests of one model version into batches and runs up to `instances` of them at a
// time.
//
// A batch starts as soon as an instance is free (batch_policy.h may make it wait if a delay is
// configured); while all are busy the queue grows into the next batch. The task that was woken for
// one batch goes on until nothing is left, so that waking costs once for a burst. A batch that is
// predicted to be shorter than `inline_limit_ns` runs on the submitting thread if that allows it:
// waking a worker costs 60 to 120 us of CPU at low load.
//
// Requests that are cancelled or past their deadline are rejected, never computed. A full queue
// first drops those, then refuses.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "server/batch/batch_item.h"
#include "server/batch/batch_policy.h"
#include "server/batch/cost_model.h"
#include "server/schedule/scheduler.h"

namespace bitmill {

// What the batcher calls, never with a lock held.
class BatchRunner {
 public:
  virtual ~BatchRunner() = default;
  // Runs one batch and finishes its items; none is touched by the batcher afterwards. `rows` is the
  // sum of their rows. `instance` (0 .. instances - 1) is used by one call at a time. Returns the
  // time the computation took, for the prediction; 0: do not count it.
  virtual int64_t RunBatch(absl::Span<BatchItem* const> items, int64_t rows, int instance) = 0;
  // Finishes an item that is not run.
  virtual void Reject(BatchItem& item, const absl::Status& status) = 0;
  // Keeps runner and batcher alive while it is held; asked of an item that is still unfinished.
  virtual std::shared_ptr<const void> KeepAlive(const BatchItem& item) = 0;
};

struct BatcherOptions {
  BatchLimits limits;
  bool gather = true;  // false: a request is a batch of its own
  int instances = 1;
  int64_t max_queue_requests = 1024;
  MonotonicNanos inline_limit_ns = 0;           // 0: never on the submitting thread
  std::atomic<int64_t>* queue_depth = nullptr;  // kept at the number of waiting requests
};

// The type URL of the payload of a ResourceExhausted status: after how many milliseconds (decimal
// text) a retry is likely to find room.
inline constexpr char kRetryAfterPayload[] = "bitmill/retry-after-ms";

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

  // Refuses new items with Unavailable, runs what waits without delay, returns when all is done.
  void Drain();

  CostModel& cost_model() { return cost_model_; }
  int64_t waiting() const;

 private:
  static constexpr int kPriorities = 8;  // lower ones share the last
  struct Fifo {
    BatchItem* head = nullptr;
    BatchItem* tail = nullptr;
  };
  using Items = std::vector<BatchItem*>;
  // How the loop of an execution came to run.
  enum class Where : uint8_t { kInline, kWorker };

  bool TryQueue(BatchItem& item, MonotonicNanos now, Items& dead)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Push(BatchItem& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeDead(MonotonicNanos now, Items& dead) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  QueueState State(MonotonicNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes items of at most `rows` rows, most important first.
  int64_t Take(int64_t rows, Items& items) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int TakeInstance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const BatchItem& AnyWaiting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Wakes workers for batches that can start and that nobody was woken for yet, or arranges to ask
  // again later.
  void Dispatch(MonotonicNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Runs batches until none can start; `instance` was taken for it.
  void Loop(int instance, Where where, MonotonicNanos scheduled_ns);
  void FinishDead(const Items& dead, MonotonicNanos now);
  absl::Status FullStatus() const;

  const BatcherOptions options_;
  const int64_t max_rows_;
  BatchRunner& runner_;
  Scheduler& scheduler_;
  const Clock& clock_;
  CostModel cost_model_;

  mutable absl::Mutex mutex_;
  std::array<Fifo, kPriorities> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t waiting_rows_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t with_deadline_ ABSL_GUARDED_BY(mutex_) = 0;  // of those waiting
  std::vector<int> idle_instances_ ABSL_GUARDED_BY(mutex_);
  int64_t woken_ ABSL_GUARDED_BY(mutex_) = 0;            // workers woken that have not begun
  MonotonicNanos timer_ns_ ABSL_GUARDED_BY(mutex_) = 0;  // earliest armed; 0: none
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bitmill
