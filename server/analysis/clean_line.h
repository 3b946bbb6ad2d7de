// What an execution of n rows takes in this window when nothing disturbs it.
#pragma once

#include <cstdint>
#include <vector>

#include "server/analysis/report.h"

namespace bitmill {

struct CleanSample {
  double rows = 0;
  double ns = 0;
};

// A line through the lower middle (40th percentile) of the samples of each number of rows, so that
// up to half of them may be disturbed; least squares of the relative error, a and b not negative.
// With one number of rows only, the shape is that of `known`, or proportional to the rows when that
// has no samples. With fewer than `min_samples` it is `known`.
ServiceLine FitCleanLine(const std::vector<CleanSample>& samples, const ServiceLine& known,
                         int64_t min_samples);

}  // namespace bitmill
