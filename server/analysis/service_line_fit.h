// The time of an execution of n rows, S(n) = a + b n, learned from the executions as they come:
// recursive least squares with forgetting, kept as the two normal equations (Ljung, System
// Identification, 2nd ed., section 11.2), so that nothing diverges and a long memory costs nothing.
//
// Four things are done so that it can be trusted on a busy machine:
//   - residuals are relative (a weight of 1 / S(n)^2), as the noise of a run time is;
//   - one that is further out than 2.5 standard deviations counts less (Huber's weight), so that a
//     preempted execution does not bend the line;
//   - what outliers cost on average is kept beside it as `stretch`: the line that is reported is
//   the
//     mean, because capacity is lost to the mean, not to the median;
//   - when the median of a tick has moved, everything known is moved with it, so that a throttle is
//     followed in one tick instead of being taken for outliers.
// While all batches have the same size, a and b cannot be told apart: their last known proportion
// is kept (a weak prior on it is part of the equations), and the line says so.
//
// About 50 ns an execution. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/types/span.h"
#include "server/analysis/report.h"

namespace bitmill {

struct ExecutionSample {
  double rows = 1;  // at least 1
  double ms = 0;    // positive
};

// How much recent executions of a size vary. Noise is a factor; a stall (preempted, held back by a
// quota) adds a time that does not depend on the size, and comes the more often the longer an
// execution runs.
struct Variation {
  std::vector<double> ratios = {1};  // times without stalls over the typical one; mean 1, ascending
  double stalls_per_ms = 0;          // of typical run time
  std::vector<double> stall_ms = {};  // what they add, ascending

  double mean_stall_ms() const;
  double stretch() const { return 1 + stalls_per_ms * mean_stall_ms(); }  // mean over typical
};

struct ServiceLineFitOptions {
  double memory_seconds = 10;         // of the line
  double stretch_memory_seconds = 2;  // of what outliers add
  double stall_memory_seconds = 20;   // of how often executions stall
  double min_samples = 30;            // no further than this many executions is forgotten
  double prior_rows = 1;              // a / b, until it is known
};

class ServiceLineFit {
 public:
  explicit ServiceLineFit(const ServiceLineFitOptions& options = {}) : options_(options) {}

  // Executions that were not given before; each stands for `weight`. `seconds` since the last call.
  // Without executions nothing changes: what is known of a model does not fade while it is idle.
  void Update(absl::Span<const ExecutionSample> executions, double weight, double seconds);

  // The mean time. samples is 0 before the first execution; split_known says whether a and b were
  // told apart. relative_error is that of the recent executions.
  ServiceLine line() const;
  // The same without what outliers add: what most executions take.
  ServiceLine typical() const;
  double stretch() const { return stretch_; }

  // Of the last 512 executions and 128 stalls, as at most 16 ratios and 32 stalls, each the mean of
  // an even slice. Nothing varies before there are 32 executions.
  Variation variation() const;

 private:
  double At(double rows) const { return a_ + b_ * rows; }
  void Start(absl::Span<const ExecutionSample> executions);
  void FollowMedian(absl::Span<const ExecutionSample> executions);
  void Accumulate(absl::Span<const ExecutionSample> executions, double weight, double seconds);
  void Solve();
  void UpdateStretch(absl::Span<const ExecutionSample> executions, double weight, double seconds);
  void UpdateVariation(absl::Span<const ExecutionSample> executions, double weight, double seconds);

  ServiceLineFitOptions options_;
  double a_ = 0, b_ = 0;                                  // milliseconds
  double prior_rows_ = 1;                                 // a / b when it was known last
  double sigma_ = 0.1;                                    // relative, robust
  double waa_ = 0, wab_ = 0, wbb_ = 0, wa_ = 0, wb_ = 0;  // the normal equations
  double samples_in_memory_ = 0, rows_in_memory_ = 0;
  double taken_ = 0, expected_ = 0, error_square_ = 0, error_weight_ = 0;
  double stretch_ = 1;
  bool split_known_ = false;
  int64_t samples_ = 0;
  std::deque<double> ratios_;                 // of the last executions without a stall
  std::deque<double> stall_ms_;               // the last stalls
  double stall_weight_ = 0, typical_ms_ = 0;  // with a memory of stall_memory_seconds
};

}  // namespace bitmill
