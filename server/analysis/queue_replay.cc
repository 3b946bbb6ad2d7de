#include "server/analysis/queue_replay.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <utility>

#include "server/batch/admission.h"
#include "server/batch/batch_policy.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kNever = std::numeric_limits<MonotonicNanos>::max();
constexpr double kNanosPerMilli = 1e6;

class Replayer {
 public:
  Replayer(absl::Span<const ReplayRequest> arrivals, const ModelControls& controls,
           const ServiceTime& service, const ServiceTime& predicted)
      : arrivals_(arrivals),
        controls_(controls),
        service_(service),
        predicted_(predicted),
        limits_{.max_rows = std::max<int64_t>(controls.max_rows, 1),
                .max_delay_ns = controls.max_delay_ns},
        free_at_(static_cast<size_t>(std::max(controls.instances, 1)), 0) {
    result_.requests.resize(arrivals.size());
  }

  ReplayResult Run() {
    size_t next = 0;
    MonotonicNanos now = arrivals_.empty() ? 0 : arrivals_[0].arrive_ns;
    while (next < arrivals_.size() || !waiting_.empty()) {
      const MonotonicNanos arrival = next < arrivals_.size() ? arrivals_[next].arrive_ns : kNever;
      const MonotonicNanos start = NextStart(now, arrival == kNever);
      if (start < arrival) {
        now = start;
        Start(now, arrival == kNever);
      } else {
        now = std::max(now, arrival);
        Admit(next++, now);
      }
    }
    return std::move(result_);
  }

 private:
  size_t FreeInstance() const {
    return static_cast<size_t>(std::min_element(free_at_.begin(), free_at_.end()) -
                               free_at_.begin());
  }

  QueueState State(bool last) const {
    QueueState state{.rows = waiting_rows_, .closed_rows = admission_.closed_rows(), .flush = last};
    if (!waiting_.empty()) state.oldest_ns = arrivals_[waiting_.front()].arrive_ns;
    return state;
  }

  // When the next execution can start, with what waits now.
  MonotonicNanos NextStart(MonotonicNanos now, bool last) const {
    if (waiting_.empty()) return kNever;
    const MonotonicNanos at = std::max(now, free_at_[FreeInstance()]);
    const BatchDecision decision = Decide(limits_, State(last), at);
    return decision.close ? at : std::max(decision.wait_until, at + 1);
  }

  void Start(MonotonicNanos now, bool last) {
    const size_t instance = FreeInstance();
    const BatchDecision decision = Decide(limits_, State(last), now);
    if (!decision.close) return;
    ReplayExecution execution{.start_ns = now,
                              .instance = static_cast<int>(instance),
                              .closed = static_cast<BatchClosed>(decision.reason)};
    const auto index = static_cast<int32_t>(result_.executions.size());
    const MonotonicNanos idle_since = free_at_[instance];
    const int64_t rows_before = waiting_rows_;
    while (!waiting_.empty()) {
      const size_t i = waiting_.front();
      const ReplayRequest& request = arrivals_[i];
      const bool dead = request.deadline_ns != 0 && now >= request.deadline_ns;
      if (!dead && execution.requests > 0 && execution.rows + request.rows > decision.rows) break;
      waiting_.pop_front();
      waiting_rows_ -= request.rows;
      ReplayOutcome& outcome = result_.requests[i];
      outcome.queue_ns = now - request.arrive_ns;
      if (dead) {
        outcome.fate = ReplayFate::kExpired;
        continue;
      }
      outcome.formation_ns = now - std::max(request.arrive_ns, std::min(idle_since, now));
      outcome.execution = index;
      execution.rows += request.rows;
      ++execution.requests;
      members_.push_back(i);
    }
    admission_.Take(rows_before - waiting_rows_);
    if (members_.empty()) return;
    const int64_t took = std::max<int64_t>(service_(execution.rows, now, execution.instance), 1);
    execution.end_ns = free_at_[instance] = now + took;
    int64_t late = 0;
    for (const size_t i : members_) {
      int64_t& latency_ns = result_.requests[i].latency_ns;
      latency_ns = execution.end_ns - arrivals_[i].arrive_ns + arrivals_[i].around_ns;
      if (latency_ns > controls_.admit_within_ns) ++late;
    }
    if (controls_.admit_within_ns > 0) {
      // A little early: the server knows it when the execution ends.
      admission_.Learn(late, std::ssize(members_), controls_.admit_within_ns);
    }
    members_.clear();
    result_.executions.push_back(execution);
  }

  void Admit(size_t i, MonotonicNanos now) {
    const ReplayRequest& request = arrivals_[i];
    const bool refused = static_cast<int64_t>(waiting_.size()) >= controls_.max_queue_requests ||
                         (controls_.admit_within_ns > 0 && !InTime(request, now));
    if (refused) {
      result_.requests[i].fate = ReplayFate::kRefused;
      return;
    }
    waiting_.push_back(i);
    waiting_rows_ += request.rows;
  }

  // As the batcher sees it (DynamicBatcher::TryQueue).
  bool InTime(const ReplayRequest& request, MonotonicNanos now) {
    const MonotonicNanos due = request.arrive_ns + controls_.admit_within_ns - request.around_ns;
    if (waiting_.empty() && free_at_[FreeInstance()] <= now) {
      admission_.Begin(due);
      return true;
    }
    free_ns_ = free_at_;
    int busy = 0;
    for (MonotonicNanos& free : free_ns_) {
      if (free > now) ++busy;
      free = std::max(free, now);
    }
    const Admission::Server server{.max_rows = limits_.max_rows,
                                   .waiting_rows = waiting_rows_,
                                   .busy = busy,
                                   .wake_ns = 0,
                                   .free_ns = absl::MakeSpan(free_ns_)};
    return admission_.Ask(request.rows, due, server,
                          [&](int64_t rows, int) { return predicted_(rows, now, 0); }) <= 0;
  }

  const absl::Span<const ReplayRequest> arrivals_;
  const ModelControls& controls_;
  const ServiceTime& service_;
  const ServiceTime& predicted_;
  const BatchLimits limits_;
  std::vector<MonotonicNanos> free_at_;  // of each instance
  std::vector<MonotonicNanos> free_ns_;  // the admission's own
  Admission admission_;
  std::deque<size_t> waiting_;
  int64_t waiting_rows_ = 0;
  std::vector<size_t> members_;
  ReplayResult result_;
};

}  // namespace

int64_t ReplayResult::LatencyQuantile(double quantile) const {
  std::vector<int64_t> latencies;
  for (const ReplayOutcome& outcome : requests) {
    if (outcome.fate == ReplayFate::kAnswered) latencies.push_back(outcome.latency_ns);
  }
  if (latencies.empty()) return 0;
  const auto last = static_cast<double>(latencies.size() - 1);
  const auto at = static_cast<ptrdiff_t>(std::llround(std::clamp(quantile, 0.0, 1.0) * last));
  std::nth_element(latencies.begin(), latencies.begin() + at, latencies.end());
  return latencies[static_cast<size_t>(at)];
}

double ReplayResult::MeanLatencyNanos() const {
  double sum = 0;
  int64_t count = 0;
  for (const ReplayOutcome& outcome : requests) {
    if (outcome.fate != ReplayFate::kAnswered) continue;
    sum += static_cast<double>(outcome.latency_ns);
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

int64_t ReplayResult::GoodRows(absl::Span<const ReplayRequest> arrivals,
                               int64_t objective_ns) const {
  int64_t rows = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].fate != ReplayFate::kAnswered) continue;
    if (objective_ns == 0 || requests[i].latency_ns <= objective_ns) rows += arrivals[i].rows;
  }
  return rows;
}

ServiceTime ServiceTimeOf(const ServiceLine& line) {
  return [line](int64_t rows, MonotonicNanos, int) {
    return static_cast<int64_t>((line.a_ms + line.b_ms * static_cast<double>(rows)) *
                                kNanosPerMilli);
  };
}

ReplayResult Replay(absl::Span<const ReplayRequest> arrivals, const ModelControls& controls,
                    const ServiceTime& service, const ServiceTime& predicted) {
  return Replayer(arrivals, controls, service, predicted).Run();
}

ReplayResult Replay(absl::Span<const ReplayRequest> arrivals, const ModelControls& controls,
                    const ServiceTime& service) {
  return Replay(arrivals, controls, service, service);
}

}  // namespace bitmill
