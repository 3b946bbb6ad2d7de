// Latencies of a window in log-linear buckets, which several servers' can be added up to before a
// quantile is taken: quantiles themselves cannot be added or averaged.
//
// Each power of two is divided into 16 buckets, so a bucket is at most 6.25 % as wide as its lower
// end. The ends are exact in binary: two histograms have the same bucket where they have the same
// end.
#pragma once

#include <vector>

#include "absl/types/span.h"

namespace bitmill {

struct LatencyHistogram {
  std::vector<double> upper_ms;  // growing; of the buckets that hold something, their end included
  std::vector<double> counts;    // as many; not whole where each latency stands for several
};

// The ends of the bucket that holds `ms`: above lower, up to upper. Below 2^-10 ms, NaN included,
// everything is in one bucket that starts at 0; above 2^30 ms in the last.
double BucketUpperMs(double ms);
double BucketLowerMs(double upper_ms);

// Each latency counts `weight`.
LatencyHistogram HistogramOf(absl::Span<const double> latencies_ms, double weight);

// Adds `from` to `into`. Buckets that are out of order, not paired with a count, or that hold less
// than nothing are left out.
void MergeInto(LatencyHistogram& into, const LatencyHistogram& from);

// The latency that the share `quantile` (0 to 1) of all stays within, linear inside a bucket; 0 for
// an empty histogram.
double QuantileMs(const LatencyHistogram& histogram, double quantile);

}  // namespace bitmill
