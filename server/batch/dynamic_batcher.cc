#include "server/batch/dynamic_batcher.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace bitmill {
namespace {

// An I/O thread goes back to its connections after so many batches.
constexpr int kInlineBatches = 4;
// A worker goes to other models that wait after so long; going costs it some microseconds.
constexpr MonotonicNanos kSliceNanos = 1'000'000;

bool IsExpired(const BatchItem& item, MonotonicNanos now) {
  return item.deadline_ns != 0 && now >= item.deadline_ns;
}

bool IsCancelled(const BatchItem& item) {
  return item.cancelled != nullptr && item.cancelled->load(std::memory_order_relaxed);
}

}  // namespace

DynamicBatcher::DynamicBatcher(const BatcherOptions& options, BatchRunner& runner,
                               Scheduler& scheduler, const Clock& clock)
    : options_(options),
      max_rows_(EffectiveMaxRows(options.limits)),
      runner_(runner),
      scheduler_(scheduler),
      clock_(clock) {
  BITMILL_CHECK(options.instances >= 1);
  MutexLock lock(&mutex_);
  for (int i = options.instances - 1; i >= 0; --i) idle_instances_.push_back(i);
}

DynamicBatcher::~DynamicBatcher() {
  MutexLock lock(&mutex_);
  BITMILL_CHECK(waiting_ == 0);
}

int64_t DynamicBatcher::waiting() const {
  MutexLock lock(&mutex_);
  return waiting_;
}

void DynamicBatcher::Submit(absl::Span<BatchItem* const> items, bool may_run_inline) {
  if (items.empty()) return;
  const MonotonicNanos now = clock_.Now();
  // Items may be finished, and with them the last handle of the model dropped, before this returns.
  const std::shared_ptr<const void> keep_alive = runner_.KeepAlive(*items.front());
  Items dead;
  Items refused;
  int instance = -1;
  Wakes wakes;
  {
    MutexLock lock(&mutex_);
    for (BatchItem* const item : items) {
      if (!TryQueue(*item, now, dead)) refused.push_back(item);
    }
    if (may_run_inline && options_.inline_limit_ns > 0 && waiting_ > 0 && woken_ == 0 &&
        !idle_instances_.empty() && Decide(options_.limits, State(now), now).close &&
        cost_model_.PredictNanos(waiting_rows_) <= options_.inline_limit_ns) {
      instance = TakeInstance();
    } else {
      wakes = Dispatch(now);
    }
    if (options_.queue_depth != nullptr) {
      options_.queue_depth->store(waiting_, std::memory_order_relaxed);
    }
  }
  Launch(wakes, now, keep_alive);
  FinishDead(dead, now);
  if (!refused.empty()) {
    const absl::Status status = FullStatus();
    for (BatchItem* const item : refused) runner_.Reject(*item, status);
  }
  if (instance >= 0) {
    scheduler_.RunInline([&] { Loop(instance, Where::kInline, now, keep_alive); });
  }
}

bool DynamicBatcher::TryQueue(BatchItem& item, MonotonicNanos now, Items& dead) {
  if (waiting_ >= options_.max_queue_requests) {
    TakeDead(now, dead);
    if (waiting_ >= options_.max_queue_requests) return false;
  }
  if (item.queued_ns == 0) item.queued_ns = now;
  Push(item);
  return true;
}

void DynamicBatcher::Push(BatchItem& item) {
  const uint64_t level = item.priority > 0 ? item.priority - 1 : 0;
  Fifo& fifo = queue_[static_cast<size_t>(std::min<uint64_t>(level, kPriorities - 1))];
  item.next = nullptr;
  (fifo.tail == nullptr ? fifo.head : fifo.tail->next) = &item;
  fifo.tail = &item;
  ++waiting_;
  waiting_rows_ += item.rows;
  if (item.deadline_ns != 0) ++with_deadline_;
}

void DynamicBatcher::TakeDead(MonotonicNanos now, Items& dead) {
  for (Fifo& fifo : queue_) {
    BatchItem* item = std::exchange(fifo.head, nullptr);
    fifo.tail = nullptr;
    while (item != nullptr) {
      BatchItem* const next = std::exchange(item->next, nullptr);
      if (IsExpired(*item, now) || IsCancelled(*item)) {
        --waiting_;
        waiting_rows_ -= item->rows;
        if (item->deadline_ns != 0) --with_deadline_;
        dead.push_back(item);
      } else {
        (fifo.tail == nullptr ? fifo.head : fifo.tail->next) = item;
        fifo.tail = item;
      }
      item = next;
    }
  }
}

QueueState DynamicBatcher::State(MonotonicNanos now) const {
  QueueState state{.rows = waiting_rows_, .flush = draining_};
  if (options_.limits.max_delay_ns <= 0) return state;  // nothing else is asked for
  state.oldest_ns = now;
  for (const Fifo& fifo : queue_) {
    if (fifo.head != nullptr) state.oldest_ns = std::min(state.oldest_ns, fifo.head->queued_ns);
    if (with_deadline_ == 0) continue;
    for (const BatchItem* item = fifo.head; item != nullptr; item = item->next) {
      if (item->deadline_ns != 0 &&
          (state.tightest_deadline == 0 || item->deadline_ns < state.tightest_deadline)) {
        state.tightest_deadline = item->deadline_ns;
      }
    }
  }
  state.predicted_run_ns = cost_model_.PredictNanos(std::min(waiting_rows_, max_rows_));
  return state;
}

int64_t DynamicBatcher::Take(int64_t rows, Items& items) {
  int64_t taken = 0;
  for (Fifo& fifo : queue_) {
    while (fifo.head != nullptr) {
      BatchItem* const item = fifo.head;
      // A first item always goes: it has at most max_rows_ rows, which may be more than a
      // preferred size.
      if (!items.empty() && (!options_.gather || taken + item->rows > rows)) return taken;
      fifo.head = item->next;
      if (fifo.head == nullptr) fifo.tail = nullptr;
      item->next = nullptr;
      --waiting_;
      waiting_rows_ -= item->rows;
      if (item->deadline_ns != 0) --with_deadline_;
      taken += item->rows;
      items.push_back(item);
    }
  }
  return taken;
}

int DynamicBatcher::TakeInstance() {
  const int instance = idle_instances_.back();
  idle_instances_.pop_back();
  return instance;
}

const BatchItem& DynamicBatcher::AnyWaiting() const {
  for (const Fifo& fifo : queue_) {
    if (fifo.head != nullptr) return *fifo.head;
  }
  BITMILL_CHECK(false);
}

DynamicBatcher::Wakes DynamicBatcher::Dispatch(MonotonicNanos now) {
  Wakes wakes;
  if (waiting_ == 0) return wakes;
  const BatchDecision decision = Decide(options_.limits, State(now), now);
  if (!decision.close) {
    if (timer_ns_ == 0 || timer_ns_ > decision.wait_until) {
      timer_ns_ = wakes.ask_again_ns = decision.wait_until;
    }
    return wakes;
  }
  const int64_t batches =
      options_.gather ? (waiting_rows_ + decision.rows - 1) / decision.rows : waiting_;
  for (; woken_ < batches && !idle_instances_.empty(); ++woken_) {
    wakes.instances.push_back(TakeInstance());
  }
  return wakes;
}

void DynamicBatcher::Launch(const Wakes& wakes, MonotonicNanos now,
                            const std::shared_ptr<const void>& keep_alive) {
  for (const int instance : wakes.instances) {
    scheduler_.Enqueue(flow_, [this, instance, now, keep_alive] {
      {
        MutexLock lock(&mutex_);
        --woken_;
      }
      Loop(instance, Where::kWorker, now, keep_alive);
    });
  }
  if (wakes.ask_again_ns == 0) return;
  scheduler_.EnqueueAt(wakes.ask_again_ns, [this, when = wakes.ask_again_ns, keep_alive] {
    const MonotonicNanos later = clock_.Now();
    Wakes more;
    {
      MutexLock lock(&mutex_);
      if (timer_ns_ == when) timer_ns_ = 0;
      more = Dispatch(later);
    }
    Launch(more, later, keep_alive);
  });
}

void DynamicBatcher::Loop(int instance, Where where, MonotonicNanos scheduled_ns,
                          const std::shared_ptr<const void>& keep_alive) {
  const MonotonicNanos started_ns = where == Where::kInline ? scheduled_ns : clock_.Now();
  MonotonicNanos now = started_ns;
  Items items;
  Items dead;
  for (int batches = 0;; ++batches) {
    int64_t rows = 0;
    Wakes wakes;
    {
      MutexLock lock(&mutex_);
      const BatchDecision decision = Decide(options_.limits, State(now), now);
      const bool leave = where == Where::kInline &&
                         (batches == kInlineBatches ||
                          cost_model_.PredictNanos(waiting_rows_) > options_.inline_limit_ns);
      const bool make_room = where == Where::kWorker && now - started_ns >= kSliceNanos &&
                             decision.close && scheduler_.contended();
      if (decision.close && !leave && !make_room) rows = Take(decision.rows, items);
      if (options_.queue_depth != nullptr) {
        options_.queue_depth->store(waiting_, std::memory_order_relaxed);
      }
      if (make_room) {
        ++woken_;
        wakes.instances.push_back(instance);
      } else if (items.empty()) {
        idle_instances_.push_back(instance);
        if (draining_) idle_.NotifyAll();
        wakes = Dispatch(now);  // for what must wait, or what an I/O thread leaves to the workers
      }
    }
    if (items.empty()) {
      Launch(wakes, now, keep_alive);
      return;
    }
    size_t kept = 0;
    for (BatchItem* const item : items) {
      if (IsExpired(*item, now) || IsCancelled(*item)) {
        rows -= item->rows;
        dead.push_back(item);
      } else {
        const MonotonicNanos woken_ns = std::max(scheduled_ns, item->queued_ns);
        const MonotonicNanos schedule_ns = std::max<MonotonicNanos>(started_ns - woken_ns, 0);
        item->times[Stage::kSchedule] = schedule_ns;
        item->times[Stage::kQueue] =
            std::max<MonotonicNanos>(now - item->queued_ns - schedule_ns, 0);
        items[kept++] = item;
      }
    }
    items.resize(kept);
    for (BatchItem* const item : items) item->batch_rows = rows;
    FinishDead(dead, now);
    dead.clear();
    if (!items.empty()) cost_model_.Observe(rows, runner_.RunBatch(items, rows, instance));
    items.clear();
    now = clock_.Now();
  }
}

void DynamicBatcher::FinishDead(const Items& dead, MonotonicNanos now) {
  for (BatchItem* const item : dead) {
    item->times[Stage::kQueue] = now - item->queued_ns;
    runner_.Reject(*item, IsExpired(*item, now)
                              ? absl::DeadlineExceededError(absl::StrCat(
                                    "waited ", (now - item->received_ns) / 1000,
                                    " us in the server, longer than the request's deadline"))
                              : absl::CancelledError("the client cancelled the request"));
  }
}

absl::Status DynamicBatcher::FullStatus() const {
  const int64_t busy_ns = cost_model_.PredictNanos(max_rows_) / max_rows_ *
                          options_.max_queue_requests / options_.instances;
  const int64_t retry_ms = std::clamp<int64_t>(busy_ns / 1'000'000, 1, 60'000);
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat(options_.name, ": the queue is full (", options_.max_queue_requests,
                   " requests wait); try again in about ", retry_ms, " ms"));
  status.SetPayload(kRetryAfterPayload, absl::Cord(absl::StrCat(retry_ms)));
  return status;
}

void DynamicBatcher::Drain() {
  const MonotonicNanos now = clock_.Now();
  Wakes wakes;
  std::shared_ptr<const void> keep_alive;
  {
    MutexLock lock(&mutex_);
    draining_ = true;
    if (waiting_ > 0) keep_alive = runner_.KeepAlive(AnyWaiting());
    wakes = Dispatch(now);
  }
  Launch(wakes, now, keep_alive);
  MutexLock lock(&mutex_);
  while (waiting_ > 0 || static_cast<int>(idle_instances_.size()) != options_.instances) {
    idle_.Wait(&mutex_);
  }
}

}  // namespace bitmill
