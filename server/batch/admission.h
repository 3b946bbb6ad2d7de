// Which requests are refused on arrival because they would be answered too late.
//
// What waits is thought of as batches: closed ones in front, and one at the end of the queue. A
// request joins that one when both it and all who are in time without it stay in time. Otherwise
// the batch is closed, and the request begins the next, if it is in time there even when others
// join it until it is a batch worth running. Otherwise the request is refused: computing it would
// cost the time of one that is answered in time.
//
// Executions take longer than predicted now and then, and who was let in with nothing to spare is
// late then. How much must be left is learned from how many are late.
//
// Not thread-safe. O(log n) with n in the batch at the end, and the time of two predictions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "server/batch/due_times.h"

namespace bitmill {

class Admission {
 public:
  struct Server {
    int64_t max_rows = 1;        // of a batch; 0: each request is a batch of its own
    int64_t waiting_rows = 0;    // all of them
    int busy = 0;                // instances in use that run, or begin to
    MonotonicNanos wake_ns = 0;  // between two executions of an instance
    // When each instance in use can start a batch of what waits; at least one; changed.
    absl::Span<MonotonicNanos> free_ns;
  };
  // How long an execution takes while `beside` others run.
  using Cost = absl::FunctionRef<int64_t(int64_t rows, int beside)>;

  // For a request of `rows` at the end of the queue that is wanted until `due_ns`: 0 when it may be
  // queued, which the caller then does; otherwise how much too late it, or those that wait with it,
  // would be answered.
  MonotonicNanos Ask(int64_t rows, MonotonicNanos due_ns, const Server& server, Cost cost);
  // The same for one that is queued whatever is predicted, with nothing waiting.
  void Begin(MonotonicNanos due_ns) { Restart(due_ns - margin_ns_); }
  // `late` of `answered` that were queued came too late, of `within_ns` that they had.
  void Learn(int64_t late, int64_t answered, MonotonicNanos within_ns);
  // What is left between the predicted answer and what is wanted.
  MonotonicNanos margin_ns() const { return margin_ns_; }

  // Rows of the closed batch at the head of the queue; 0: none is closed.
  int64_t closed_rows() const { return closed_.empty() ? 0 : closed_.front().rows; }
  // `rows` of the head of the queue were taken.
  void Take(int64_t rows);
  // Others left the queue: `waiting_rows` are left.
  void Trim(int64_t waiting_rows);

 private:
  struct Batch {
    int64_t rows = 0;
    MonotonicNanos takes_ns = 0;  // of its instance
  };
  // Begins the batch at the end with one that has to be answered until then.
  void Restart(MonotonicNanos due_ns);
  void Close(const Batch& batch);
  void PassClosed(absl::Span<MonotonicNanos> free_ns) const;

  std::deque<Batch> closed_;
  int64_t all_closed_rows_ = 0;
  MonotonicNanos all_closed_ns_ = 0;
  DueTimes dues_;  // of the batch at the end, less the margin
  MonotonicNanos margin_ns_ = 0;
};

}  // namespace bitmill
