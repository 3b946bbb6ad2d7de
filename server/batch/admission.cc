#include "server/batch/admission.h"

#include <algorithm>

namespace bitmill {
namespace {

// A batch is closed for the sake of those in it when there is time for so many times its rows in
// the next. At 1 one small batch makes the next a small one too, and those cost more a row: under
// overload a twentieth of the goodput is lost (bench/adaptation.py); below, most of it.
constexpr double kNextRows = 1.25;
// Of the closed batches so many are given to instances one by one.
constexpr size_t kWalked = 8;

// So many may be late: less than an objective of p99 allows for all that is around, and few enough
// that the time they cost is no loss.
constexpr double kLateShare = 0.02;
// The margin follows as the quantile of a stream does (Robbins and Monro, 1951), in steps of this
// share of the time that requests have; it is never more than the other.
constexpr double kMarginStep = 0.001, kMostMargin = 1.0 / 3;

MonotonicNanos& First(absl::Span<MonotonicNanos> free_ns) {
  return *std::min_element(free_ns.begin(), free_ns.end());
}

}  // namespace

MonotonicNanos Admission::Ask(int64_t rows, MonotonicNanos due_ns, const Server& server,
                              Cost cost) {
  due_ns -= margin_ns_;
  const int others = static_cast<int>(server.free_ns.size()) - 1;
  int64_t forming = std::max<int64_t>(server.waiting_rows - all_closed_rows_, 0);
  // Who was queued without being asked for is in full batches.
  for (; server.max_rows > 0 && forming > server.max_rows; forming -= server.max_rows) {
    Close({.rows = server.max_rows, .takes_ns = cost(server.max_rows, others) + server.wake_ns});
  }
  const auto beside = [&](int more) {
    return std::min(others, server.busy + static_cast<int>(closed_.size()) + more);
  };
  PassClosed(server.free_ns);
  MonotonicNanos& start_ns = First(server.free_ns);
  if (forming == 0) {
    const MonotonicNanos late_ns = start_ns + cost(rows, beside(0)) - due_ns;
    if (late_ns <= 0) Restart(due_ns);
    return std::max<MonotonicNanos>(late_ns, 0);
  }
  const MonotonicNanos took_ns = cost(forming, beside(0));
  MonotonicNanos late_ns = DueTimes::kNone;
  int64_t next_rows = rows;
  if (forming + rows <= server.max_rows) {
    const MonotonicNanos end_ns = start_ns + cost(forming + rows, beside(0));
    late_ns = end_ns - std::min(due_ns, dues_.EarliestInTime(start_ns + took_ns));
    if (late_ns <= 0) {
      dues_.Add(due_ns);
      return 0;
    }
    next_rows = std::max(rows, static_cast<int64_t>(kNextRows * static_cast<double>(forming)));
  }
  start_ns += took_ns + server.wake_ns;
  const MonotonicNanos next_late_ns = First(server.free_ns) + cost(next_rows, beside(1)) - due_ns;
  if (next_late_ns > 0) return std::min(late_ns, next_late_ns);
  Close({.rows = forming, .takes_ns = took_ns + server.wake_ns});
  Restart(due_ns);
  return 0;
}

void Admission::Learn(int64_t late, int64_t answered, MonotonicNanos within_ns) {
  const auto within = static_cast<double>(within_ns);
  const double more = static_cast<double>(late) - kLateShare * static_cast<double>(answered);
  const double margin = static_cast<double>(margin_ns_) + kMarginStep * within * more;
  margin_ns_ = static_cast<MonotonicNanos>(std::clamp(margin, 0.0, kMostMargin * within));
}

void Admission::Restart(MonotonicNanos due_ns) {
  dues_.Clear();
  dues_.Add(due_ns);
}

void Admission::Take(int64_t rows) {
  while (rows > 0 && !closed_.empty()) {
    Batch& first = closed_.front();
    const int64_t of_first = std::min(rows, first.rows);
    rows -= of_first;
    first.rows -= of_first;
    all_closed_rows_ -= of_first;
    if (first.rows > 0) return;
    all_closed_ns_ -= first.takes_ns;
    closed_.pop_front();
  }
}

void Admission::Trim(int64_t waiting_rows) {
  while (all_closed_rows_ > waiting_rows) {
    Batch& last = closed_.back();
    const int64_t of_last = std::min(all_closed_rows_ - waiting_rows, last.rows);
    last.rows -= of_last;
    all_closed_rows_ -= of_last;
    if (last.rows > 0) return;
    all_closed_ns_ -= last.takes_ns;
    closed_.pop_back();
  }
}

void Admission::Close(const Batch& batch) {
  closed_.push_back(batch);
  all_closed_rows_ += batch.rows;
  all_closed_ns_ += batch.takes_ns;
}

void Admission::PassClosed(absl::Span<MonotonicNanos> free_ns) const {
  MonotonicNanos rest_ns = all_closed_ns_;
  for (size_t i = 0; i < std::min(closed_.size(), kWalked); ++i) {
    First(free_ns) += closed_[i].takes_ns;
    rest_ns -= closed_[i].takes_ns;
  }
  for (MonotonicNanos& free : free_ns) free += rest_ns / static_cast<int64_t>(free_ns.size());
}

}  // namespace bitmill
