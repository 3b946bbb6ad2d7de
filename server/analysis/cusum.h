// Whether a and b of a model's service line have moved from where they were: Page's cumulative sums
// (Page 1954) of standardized residuals, two-sided. A slack of half a standard deviation is tuned
// to a move of one; with a threshold of 5, independent normal noise gives a false alarm in 465
// ticks on average (Montgomery, Introduction to Statistical Quality Control, section 9.1). The
// standard deviation that is assumed here has a floor of 10 %, far above what a quiet machine
// shows.
//
// Not thread-safe.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "server/analysis/service_line_fit.h"

namespace bitmill {

struct CusumOptions {
  double slack = 0.5;      // standard deviations
  double threshold = 5;    // standard deviations
  double most_sigmas = 4;  // a residual counts no more than this
};

class Cusum {
 public:
  explicit Cusum(const CusumOptions& options = {}) : options_(options) {}
  // Takes a standardized residual; true while one of the sums is over the threshold.
  bool Update(double sigmas);
  void Reset() { high_ = low_ = 0; }
  double high() const { return high_; }
  double low() const { return low_; }

 private:
  CusumOptions options_;
  double high_ = 0, low_ = 0;
};

struct LineDriftOptions {
  CusumOptions cusum;
  int learn_ticks = 15;       // ticks with executions, from which the reference is taken
  int hold_ticks = 30;        // that a drift is told before the new line becomes the reference
  double least_sigma = 0.10;  // of S: what a tick's estimate may vary by itself
};

// Compares the line of each tick alone (a weighted regression of its executions) with a reference
// learned before. A tick whose batches are all alike says only that both moved, by as much.
class LineDrift {
 public:
  explicit LineDrift(const LineDriftOptions& options = {})
      : options_(options), a_(options.cusum), b_(options.cusum) {}

  // The executions of one tick, without those seen before, and the line fitted to all so far.
  void Update(absl::Span<const ExecutionSample> executions, const ServiceLine& line);

  bool a_drifted() const { return a_drifted_; }
  bool b_drifted() const { return b_drifted_; }
  // What is compared with; samples is 0 while it is being learned.
  ServiceLine reference() const {
    return learned_ >= options_.learn_ticks ? reference_ : ServiceLine{};
  }

 private:
  LineDriftOptions options_;
  Cusum a_, b_;
  ServiceLine reference_;
  int learned_ = 0;
  int held_ = 0;
  bool a_drifted_ = false, b_drifted_ = false;
};

}  // namespace bitmill
