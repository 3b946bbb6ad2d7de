// Which executions are timed operation by operation, and what came of it: a few a second, so that
// the clock readings do not count.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "backends/backend.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace bitmill {

struct OperationTotals {
  std::vector<int64_t> ns;  // of each operation, sums over `rows` rows; empty: never timed
  int64_t rows = 0;
  int64_t executions = 0;
};

class OperationSampler {
 public:
  explicit OperationSampler(size_t operations) : operations_(operations) {}

  // Whether the execution that starts now is to be timed. Thread-safe.
  bool Due(MonotonicNanos now);
  // A buffer of zeros for it. Each thread has its own; it is lent until Add().
  std::vector<int64_t> Buffer() const { return std::vector<int64_t>(operations_); }
  void Add(const OperationTimes& times);

  // Since the version was loaded.
  OperationTotals totals() const;

 private:
  static constexpr MonotonicNanos kPeriodNanos = 100'000'000;

  const size_t operations_;
  std::atomic<MonotonicNanos> next_{0};
  mutable Mutex mutex_;
  OperationTotals totals_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
