#include "server/batch/dynamic_batcher.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/batch/punctuality.h"

namespace bitmill {
namespace {

// An I/O thread goes back to its connections after so many batches.
constexpr int kInlineBatches = 4;
// A worker goes to other models that wait after so long; going costs it some microseconds.
constexpr MonotonicNanos kSliceNanos = 1'000'000;
constexpr MonotonicNanos kWakeWeight = 8;  // one batch counts for an eighth of the average

// BatchClosed is what the batch policy said, for those who do not know the policy.
static_assert(static_cast<int>(BatchClosed::kFull) == static_cast<int>(CloseReason::kFull) &&
              static_cast<int>(BatchClosed::kPreferred) ==
                  static_cast<int>(CloseReason::kPreferred) &&
              static_cast<int>(BatchClosed::kNoDelay) == static_cast<int>(CloseReason::kNoDelay) &&
              static_cast<int>(BatchClosed::kAge) == static_cast<int>(CloseReason::kAge) &&
              static_cast<int>(BatchClosed::kDeadline) ==
                  static_cast<int>(CloseReason::kDeadline) &&
              static_cast<int>(BatchClosed::kFlush) == static_cast<int>(CloseReason::kFlush));

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
  limits_ = options.limits;
  controls_ = {.max_rows = max_rows_,
               .max_delay_ns = options.limits.max_delay_ns,
               .instances = options.instances,
               .max_queue_requests = options.max_queue_requests,
               .admit_within_ns = 0};
  free_at_ns_.assign(static_cast<size_t>(options.instances), 0);
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
  Refusals refusals;
  BatchControls controls;  // of the refusals
  int instance = -1;
  Wakes wakes;
  {
    MutexLock lock(&mutex_);
    for (BatchItem* const item : items) {
      Refusal refusal{.item = item};
      if (!TryQueue(*item, now, dead, refusal)) refusals.push_back(refusal);
    }
    if (may_run_inline && options_.inline_limit_ns > 0 && waiting_ > 0 && woken_ == 0 &&
        HasIdle() && Decide(limits_, State(now), now).close &&
        cost_model_.PredictNanos(waiting_rows_) <= options_.inline_limit_ns) {
      instance = TakeInstance(now);
    } else {
      wakes = Dispatch(now);
    }
    UpdateFormationClock(now);
    PublishDepth();
    if (!refusals.empty()) controls = controls_;
  }
  Launch(wakes, now, keep_alive);
  FinishDead(dead, now);
  FinishRefused(refusals, controls);
  if (instance >= 0) {
    scheduler_.RunInline([&] { Loop(instance, Where::kInline, now, keep_alive); });
  }
}

bool DynamicBatcher::TryQueue(BatchItem& item, MonotonicNanos now, Items& dead, Refusal& refusal) {
  if (waiting_ >= controls_.max_queue_requests) {
    TakeDead(now, dead);
    admission_.Trim(waiting_rows_);
    if (waiting_ >= controls_.max_queue_requests) return false;
  }
  if (controls_.admit_within_ns > 0) {
    const MonotonicNanos received = item.received_ns != 0 ? item.received_ns : now;
    const bool by_deadline =
        item.deadline_ns != 0 && item.deadline_ns < received + controls_.admit_within_ns;
    const MonotonicNanos due =
        by_deadline ? item.deadline_ns : received + controls_.admit_within_ns;
    if (const MonotonicNanos late = Lateness(item, due, now); late > 0) {
      refusal.why = {.late_ns = late, .within_ns = by_deadline ? 0 : controls_.admit_within_ns};
      return false;
    }
  }
  if (item.queued_ns == 0) item.queued_ns = now;
  Push(item, now);
  return true;
}

MonotonicNanos DynamicBatcher::Lateness(const BatchItem& item, MonotonicNanos due_ns,
                                        MonotonicNanos now) {
  // An idle model takes whatever comes: it costs nobody anything, and only what runs is measured.
  if (waiting_ == 0 && HasIdle()) {
    admission_.Begin(due_ns);
    return 0;
  }
  int64_t rows_ahead = 0;
  for (size_t level = 0; level <= LevelOf(item); ++level) rows_ahead += queue_[level].rows;
  Frees frees = FreeAt(now);
  const Admission::Server server{.max_rows = options_.gather ? controls_.max_rows : 0,
                                 .waiting_rows = rows_ahead,
                                 .busy = Busy(),
                                 .wake_ns = wake_ns_,
                                 .free_ns = absl::MakeSpan(frees)};
  const auto cost = [this](int64_t rows, int beside) { return OccupiedNanos(rows, beside); };
  // Less important ones that wait are behind it, and what is known of those does not count.
  return rows_ahead == waiting_rows_
             ? admission_.Ask(item.rows, due_ns, server, cost)
             : Admission().Ask(item.rows, due_ns - admission_.margin_ns(), server, cost);
}

int64_t DynamicBatcher::OccupiedNanos(int64_t rows, int beside) const {
  // Of sizes that only warm-up has run, the computation is all that is known.
  return std::max(cost_model_.PredictNanos(rows, beside), occupied_.PredictNanos(rows, beside));
}

DynamicBatcher::Frees DynamicBatcher::FreeAt(MonotonicNanos now) const {
  Frees frees;
  for (const MonotonicNanos at : free_at_ns_) {
    if (at != 0) frees.push_back(std::max(now, at));
  }
  const auto in_use = static_cast<size_t>(controls_.instances);
  if (frees.size() < in_use) frees.resize(in_use, now + wake_ns_);
  // Those that run beyond the number in use take nothing when they end.
  std::sort(frees.begin(), frees.end());
  frees.erase(frees.begin(), frees.end() - static_cast<ptrdiff_t>(in_use));
  return frees;
}

int DynamicBatcher::Busy() const {
  return options_.instances - static_cast<int>(idle_instances_.size());
}

size_t DynamicBatcher::LevelOf(const BatchItem& item) {
  const uint64_t level = item.priority > 0 ? item.priority - 1 : 0;
  return static_cast<size_t>(std::min<uint64_t>(level, kPriorities - 1));
}

void DynamicBatcher::Push(BatchItem& item, MonotonicNanos now) {
  Fifo& fifo = queue_[LevelOf(item)];
  item.next = nullptr;
  item.formation_mark_ns = FormationClock(now);
  (fifo.tail == nullptr ? fifo.head : fifo.tail->next) = &item;
  fifo.tail = &item;
  ++fifo.items;
  fifo.rows += item.rows;
  ++waiting_;
  waiting_rows_ += item.rows;
  if (item.deadline_ns != 0) ++with_deadline_;
}

void DynamicBatcher::Forget(Fifo& fifo, const BatchItem& item) {
  --fifo.items;
  fifo.rows -= item.rows;
  --waiting_;
  waiting_rows_ -= item.rows;
  if (item.deadline_ns != 0) --with_deadline_;
}

void DynamicBatcher::TakeDead(MonotonicNanos now, Items& dead) {
  for (Fifo& fifo : queue_) {
    BatchItem* item = std::exchange(fifo.head, nullptr);
    fifo.tail = nullptr;
    while (item != nullptr) {
      BatchItem* const next = std::exchange(item->next, nullptr);
      if (IsExpired(*item, now) || IsCancelled(*item)) {
        Forget(fifo, *item);
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
  QueueState state{
      .rows = waiting_rows_, .closed_rows = admission_.closed_rows(), .flush = draining_};
  if (limits_.max_delay_ns <= 0) return state;  // nothing else is asked for
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
  state.predicted_run_ns = OccupiedNanos(std::min(waiting_rows_, controls_.max_rows), 0);
  return state;
}

int64_t DynamicBatcher::Take(const BatchDecision& decision, MonotonicNanos now, Items& items) {
  const int64_t clock = FormationClock(now);
  int64_t taken = 0;
  for (Fifo& fifo : queue_) {
    while (fifo.head != nullptr) {
      BatchItem* const item = fifo.head;
      // A first item always goes: it has at most max_rows_ rows, which may be more than a
      // preferred size.
      if (!items.empty() && (!options_.gather || taken + item->rows > decision.rows)) {
        return taken;
      }
      fifo.head = item->next;
      if (fifo.head == nullptr) fifo.tail = nullptr;
      item->next = nullptr;
      item->formation_ns = std::max<int64_t>(clock - item->formation_mark_ns, 0);
      item->closed = static_cast<BatchClosed>(decision.reason);
      Forget(fifo, *item);
      taken += item->rows;
      items.push_back(item);
    }
  }
  return taken;
}

bool DynamicBatcher::HasIdle() const {
  const auto running = static_cast<size_t>(options_.instances) - idle_instances_.size();
  return running < static_cast<size_t>(controls_.instances);
}

bool DynamicBatcher::HasSurplus() const {
  const auto running = static_cast<size_t>(options_.instances) - idle_instances_.size();
  return running > static_cast<size_t>(controls_.instances);
}

int DynamicBatcher::TakeInstance(MonotonicNanos now) {
  const int instance = idle_instances_.back();
  idle_instances_.pop_back();
  free_at_ns_[static_cast<size_t>(instance)] = now + wake_ns_;
  return instance;
}

void DynamicBatcher::ReturnInstance(int instance) {
  idle_instances_.push_back(instance);
  free_at_ns_[static_cast<size_t>(instance)] = 0;
}

int64_t DynamicBatcher::FormationClock(MonotonicNanos now) const {
  if (formation_since_ns_ == 0) return formation_ns_;
  return formation_ns_ + std::max<int64_t>(now - formation_since_ns_, 0);
}

void DynamicBatcher::UpdateFormationClock(MonotonicNanos now) {
  const bool runs = HasIdle() && woken_ == 0;
  if (runs == (formation_since_ns_ != 0)) return;
  formation_ns_ = FormationClock(now);
  formation_since_ns_ = runs ? now : 0;
}

void DynamicBatcher::PublishDepth() {
  if (options_.queue_depth != nullptr) {
    options_.queue_depth->store(waiting_, std::memory_order_relaxed);
  }
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
  const BatchDecision decision = Decide(limits_, State(now), now);
  if (!decision.close) {
    if (timer_ns_ == 0 || timer_ns_ > decision.wait_until) {
      timer_ns_ = wakes.ask_again_ns = decision.wait_until;
    }
    return wakes;
  }
  int64_t batches = waiting_;
  if (options_.gather) {
    batches = std::min(batches, (waiting_rows_ + decision.rows - 1) / decision.rows);
  }
  for (; woken_ < batches && HasIdle(); ++woken_) wakes.instances.push_back(TakeInstance(now));
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
      UpdateFormationClock(later);
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
  Punctuality punctuality;
  for (int batches = 0;; ++batches) {
    Wakes wakes;
    int beside = 0;  // executions that run when this one starts
    MonotonicNanos within_ns = 0;
    {
      MutexLock lock(&mutex_);
      punctuality.Tell(now, controls_.admit_within_ns, admission_);
      within_ns = controls_.admit_within_ns;
      const BatchDecision decision = Decide(limits_, State(now), now);
      const bool leave =
          HasSurplus() || (where == Where::kInline &&
                           (batches == kInlineBatches ||
                            cost_model_.PredictNanos(waiting_rows_) > options_.inline_limit_ns));
      const bool make_room = where == Where::kWorker && now - started_ns >= kSliceNanos &&
                             decision.close && !leave && scheduler_.contended();
      if (decision.close && !leave && !make_room) {
        const int64_t rows = Take(decision, now, items);
        admission_.Take(rows);
        beside = Busy() - 1;
        const MonotonicNanos woke_ns = batches == 0 ? started_ns - scheduled_ns : 0;
        wake_ns_ += (woke_ns - wake_ns_) / kWakeWeight;
        if (controls_.admit_within_ns > 0) {
          free_at_ns_[static_cast<size_t>(instance)] = now + OccupiedNanos(rows, beside) + wake_ns_;
        }
      }
      PublishDepth();
      if (make_room) {
        ++woken_;
        free_at_ns_[static_cast<size_t>(instance)] = now + wake_ns_;
        wakes.instances.push_back(instance);
      } else if (items.empty()) {
        ReturnInstance(instance);
        if (draining_) idle_.NotifyAll();
        wakes = Dispatch(now);  // for what must wait, or what an I/O thread leaves to the workers
      }
      UpdateFormationClock(now);
    }
    if (items.empty()) {
      Launch(wakes, now, keep_alive);
      return;
    }
    const int64_t rows = MarkTaken(items, dead, {scheduled_ns, started_ns, now, where});
    FinishDead(dead, now);
    dead.clear();
    if (within_ns > 0) punctuality.Expect(items, within_ns);
    const int64_t ran_ns = items.empty() ? 0 : runner_.RunBatch(items, rows, instance);
    items.clear();
    const MonotonicNanos begin_ns = std::exchange(now, clock_.Now());
    if (ran_ns <= 0) continue;
    cost_model_.Observe(rows, ran_ns, beside);
    occupied_.Observe(rows, now - begin_ns, beside);
  }
}

int64_t DynamicBatcher::MarkTaken(Items& items, Items& dead, const LoopTimes& times) {
  int64_t rows = 0;
  size_t kept = 0;
  for (BatchItem* const item : items) {
    if (IsExpired(*item, times.now_ns) || IsCancelled(*item)) {
      dead.push_back(item);
      continue;
    }
    const MonotonicNanos woken_ns = std::max(times.scheduled_ns, item->queued_ns);
    const MonotonicNanos schedule_ns = std::max<MonotonicNanos>(times.started_ns - woken_ns, 0);
    const MonotonicNanos queue_ns =
        std::max<MonotonicNanos>(times.now_ns - item->queued_ns - schedule_ns, 0);
    item->times[Stage::kSchedule] = schedule_ns;
    item->times[Stage::kQueue] = queue_ns;
    item->taken_ns = times.now_ns;
    item->inline_run = times.where == Where::kInline;
    item->formation_ns = std::min(item->formation_ns, queue_ns);
    rows += item->rows;
    items[kept++] = item;
  }
  items.resize(kept);
  for (BatchItem* const item : items) item->batch_rows = rows;
  return rows;
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

void DynamicBatcher::FinishRefused(const Refusals& refusals, const BatchControls& controls) {
  for (const auto& [item, why] : refusals) {
    if (why.late_ns > 0) {
      runner_.Reject(*item, TooLateStatus(options_.name, why));
      continue;
    }
    const int64_t busy_ns = OccupiedNanos(controls.max_rows, 0) / controls.max_rows *
                            controls.max_queue_requests / controls.instances;
    runner_.Reject(*item, QueueFullStatus(options_.name, controls.max_queue_requests, busy_ns));
  }
}

void DynamicBatcher::SetControls(const BatchControls& controls) {
  const MonotonicNanos now = clock_.Now();
  Wakes wakes;
  std::shared_ptr<const void> keep_alive;
  {
    MutexLock lock(&mutex_);
    controls_ = {.max_rows = std::clamp<int64_t>(controls.max_rows, 1, max_rows_),
                 .max_delay_ns = std::max<MonotonicNanos>(controls.max_delay_ns, 0),
                 .instances = std::clamp(controls.instances, 1, options_.instances),
                 .max_queue_requests = std::max<int64_t>(controls.max_queue_requests, 1),
                 .admit_within_ns = std::max<MonotonicNanos>(controls.admit_within_ns, 0)};
    if (controls_.admit_within_ns == 0) admission_ = Admission();
    limits_.max_rows = controls_.max_rows;
    limits_.max_delay_ns = controls_.max_delay_ns;
    if (waiting_ > 0) keep_alive = runner_.KeepAlive(AnyWaiting());
    wakes = Dispatch(now);
    UpdateFormationClock(now);
  }
  Launch(wakes, now, keep_alive);
}

BatchControls DynamicBatcher::controls() const {
  MutexLock lock(&mutex_);
  return controls_;
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
    UpdateFormationClock(now);
  }
  Launch(wakes, now, keep_alive);
  MutexLock lock(&mutex_);
  while (waiting_ > 0 || static_cast<int>(idle_instances_.size()) != options_.instances) {
    idle_.Wait(&mutex_);
  }
}

}  // namespace bitmill
