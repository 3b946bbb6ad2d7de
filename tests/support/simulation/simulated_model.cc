#include "tests/support/simulation/simulated_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace bitmill {
namespace {

constexpr double kNanosPerSecond = 1e9, kNanosPerMilli = 1e6;
constexpr MonotonicNanos kSecond = 1'000'000'000;
constexpr MonotonicNanos kWindow = 5 * kSecond;
constexpr MonotonicNanos kQuotaPeriod = 100'000'000;

double Quantile99Ms(std::vector<int64_t>& latencies) {
  if (latencies.empty()) return 0;
  const auto at = latencies.begin() + static_cast<ptrdiff_t>((latencies.size() - 1) * 99 / 100);
  std::nth_element(latencies.begin(), at, latencies.end());
  return static_cast<double>(*at) / kNanosPerMilli;
}

// When work of `work` nanoseconds ends that starts at `start` and runs only in the first `on` of
// each period.
MonotonicNanos EndUnderQuota(MonotonicNanos start, int64_t work, MonotonicNanos on) {
  MonotonicNanos now = start;
  while (true) {
    const MonotonicNanos period = now - now % kQuotaPeriod;
    const MonotonicNanos left = period + on - now;
    if (left >= work && left > 0) return now + work;
    if (left > 0) work -= left;
    now = period + kQuotaPeriod;
  }
}

}  // namespace

SimulatedModel::SimulatedModel(const SimulationOptions& options, Rate rate, double most_rate)
    : options_(options),
      rate_(std::move(rate)),
      most_rate_(most_rate),
      random_(options.seed),
      free_at_(static_cast<size_t>(options.controls.instances), 0) {
  Arrive();
}

// The time of the next request: candidates at the largest rate, thinned (Lewis and Shedler 1979).
void SimulatedModel::Arrive() {
  do {
    next_candidate_s_ += random_.Exponential() / most_rate_;
  } while (random_.Uniform() * most_rate_ > rate_(next_candidate_s_));
  next_arrival_ns_ = static_cast<MonotonicNanos>(next_candidate_s_ * kNanosPerSecond);
}

int64_t SimulatedModel::TakesNanos(int64_t rows, MonotonicNanos start) {
  double ms = options_.line.a_ms + options_.line.b_ms * static_cast<double>(rows);
  ms *= std::exp(options_.noise * random_.Normal() - options_.noise * options_.noise / 2);
  if (random_.Uniform() < options_.preempted_share) ms += random_.Uniform(0, options_.preempted_ms);
  const SlowDown& slow = options_.slow_down;
  const auto at = static_cast<MonotonicNanos>(slow.at_seconds * kNanosPerSecond);
  if (slow.kind != SlowDown::Kind::kNone && start >= at) {
    if (slow.kind == SlowDown::Kind::kQuota) {
      const auto on = static_cast<MonotonicNanos>(slow.speed * static_cast<double>(kQuotaPeriod));
      return EndUnderQuota(start, std::llround(ms * kNanosPerMilli), on) - start;
    }
    ms /= slow.speed;
  }
  return std::max<int64_t>(std::llround(ms * kNanosPerMilli), 1);
}

void SimulatedModel::RunExecution(MonotonicNanos start) {
  const auto free = std::min_element(free_at_.begin(), free_at_.end());
  const auto count = std::min(static_cast<int64_t>(waiting_.size()), options_.controls.max_rows);
  const int64_t takes = TakesNanos(count, start);
  executions_.push_back(
      {.start_ns = start,
       .compute_ns = takes,
       .rows = static_cast<int32_t>(count),
       .padded_rows = static_cast<int32_t>(count),
       .requests = static_cast<int32_t>(count),
       .instance = static_cast<int32_t>(free - free_at_.begin()),
       .closed = count == options_.controls.max_rows ? BatchClosed::kFull : BatchClosed::kNoDelay});
  *free = start + takes;
  for (int64_t i = 0; i < count; ++i) {
    Finished finished{.end_ns = start + takes};
    RequestRecord& record = finished.record;
    record.received_ns = waiting_.front();
    record.total_ns = start + takes - record.received_ns;
    record.stages[Stage::kQueue] = start - record.received_ns;
    record.stages[Stage::kCompute] = takes;
    record.rows = 1;
    record.batch_rows = static_cast<int32_t>(count);
    record.closed = executions_.back().closed;
    finished_.push_back(finished);
    waiting_.pop_front();
  }
}

SimulatedTick SimulatedModel::Next() {
  const MonotonicNanos end = now_ns_ + kSecond;
  tick_arrived_ = tick_refused_ = 0;
  MonotonicNanos at = now_ns_;
  while (true) {
    const MonotonicNanos free = *std::min_element(free_at_.begin(), free_at_.end());
    const MonotonicNanos start = waiting_.empty() ? end : std::max({free, at, waiting_.front()});
    if (std::min(start, next_arrival_ns_) >= end) break;
    if (start < next_arrival_ns_) {
      at = start;
      RunExecution(start);
      continue;
    }
    at = next_arrival_ns_;
    ++tick_arrived_;
    if (static_cast<int64_t>(waiting_.size()) >= options_.controls.max_queue_requests) {
      ++tick_refused_;
    } else {
      waiting_.push_back(next_arrival_ns_);
    }
    Arrive();
  }
  now_ns_ = end;
  while (!executions_.empty() &&
         executions_.front().start_ns + executions_.front().compute_ns <= end - kWindow) {
    executions_.pop_front();
  }
  while (!finished_.empty() && finished_.front().end_ns <= end - kWindow) finished_.pop_front();
  return Look(end);
}

SimulatedTick SimulatedModel::Look(MonotonicNanos end) const {
  SimulatedTick tick;
  ModelWindow& window = tick.window;
  window.facts = {.name = "simulated", .version = 1};
  window.controls = options_.controls;
  window.objective = options_.objective;
  window.begin_ns = std::max<MonotonicNanos>(end - kWindow, 0);
  window.end_ns = end;
  window.tick_begin_ns = end - kSecond;
  window.tick_arrived = window.tick_arrived_rows = tick_arrived_;
  window.tick_refused = tick_refused_;
  window.queue_depth = static_cast<int64_t>(waiting_.size());
  double busy = 0;
  for (const ExecutionRecord& execution : executions_) {
    const MonotonicNanos ends = execution.start_ns + execution.compute_ns;
    busy +=
        static_cast<double>(std::min(ends, end) - std::max(execution.start_ns, window.begin_ns));
    if (ends > end) continue;  // not finished: nobody knows of it
    window.executions_seen.push_back(execution);
    window.rows += execution.rows;
  }
  window.executions = static_cast<int64_t>(window.executions_seen.size());
  std::vector<int64_t> all, of_tick;
  for (const Finished& finished : finished_) {
    if (finished.end_ns > end) continue;
    window.requests.push_back(finished.record);
    all.push_back(finished.record.total_ns);
    if (finished.end_ns > end - kSecond) of_tick.push_back(finished.record.total_ns);
  }
  window.answered = window.arrived = static_cast<int64_t>(all.size());
  window.tick_answered = static_cast<int64_t>(of_tick.size());
  tick.busy =
      busy / (static_cast<double>(end - window.begin_ns) * static_cast<double>(free_at_.size()));
  tick.p99_ms = Quantile99Ms(all);
  tick.tick_p99_ms = Quantile99Ms(of_tick);
  if (window.executions > 0) {
    tick.mean_batch_rows =
        static_cast<double>(window.rows) / static_cast<double>(window.executions);
  }
  return tick;
}

}  // namespace bitmill
