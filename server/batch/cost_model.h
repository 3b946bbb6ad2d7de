// Predicts how long a batch takes from how long earlier ones took: for each power of two of rows a
// moving average of rows and time, and between those a straight line, so that a fixed part of the
// time is not taken for a price of each row; and how much executions of the model that run at the
// same time hinder one another. One preempted run must not look like a slow model, so an
// observation counts for at most four times the estimate.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace bitmill {

// The average of some executions; rows 0: of none.
struct alignas(8) AverageRun {
  float rows = 0, ns = 0;
};

class CostModel {
 public:
  // `beside`: executions of the model that ran when this one started. Thread-safe; concurrent
  // observations may lose one another, which does no harm.
  void Observe(int64_t rows, int64_t ns, int beside = 0);

  // 0 before the first observation. Rows beyond the sizes that were seen cost what the nearest ones
  // say, and never more than the average row of those. Thread-safe.
  int64_t PredictNanos(int64_t rows, int beside = 0) const;

 private:
  static constexpr int kBuckets = 16;
  static constexpr int kBeside = 8;  // so many or more are the same
  static_assert(std::atomic<AverageRun>::is_always_lock_free);

  static int BucketOf(int64_t rows);
  AverageRun At(int bucket) const {
    return seen_[static_cast<size_t>(bucket)].load(std::memory_order_relaxed);
  }
  // The nearest bucket from `bucket` on, a step of 1 or -1 at a time, of which something was seen;
  // -1 when there is none.
  int Nearest(int bucket, int step) const;
  float AloneNanos(int64_t rows) const;
  // How many times as long an execution takes with `beside` others.
  float Slower(int beside) const;

  std::array<std::atomic<AverageRun>, kBuckets> seen_{};
  std::array<std::atomic<float>, kBeside> slower_{};  // by how many are beside, less one; 0: unseen
};

}  // namespace bitmill
