// Predicts how long a batch takes from how long earlier ones took: a moving average of the time a
// row costs, for each power of two of rows. One preempted run must not look like a slow model, so
// an observation counts for at most four times the estimate.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace bitmill {

class CostModel {
 public:
  // Thread-safe; concurrent observations may lose one another, which does no harm.
  void Observe(int64_t rows, int64_t ns);

  // 0 before the first observation. A size that was never seen is taken from the nearest smaller
  // one (its rows cost at most as much), otherwise from the nearest larger one. Thread-safe.
  int64_t PredictNanos(int64_t rows) const;

 private:
  static constexpr int kBuckets = 16;
  static int BucketOf(int64_t rows);
  std::array<std::atomic<float>, kBuckets> ns_per_row_{};
};

}  // namespace bitmill
