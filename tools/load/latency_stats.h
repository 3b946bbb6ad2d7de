// Exact percentiles: every latency is kept, nothing is binned.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace bitmill {

// Nanoseconds. All zero when nothing was measured.
struct LatencySummary {
  int64_t count = 0;
  double mean_ns = 0.0;
  int64_t min_ns = 0, p50_ns = 0, p90_ns = 0, p99_ns = 0, p999_ns = 0, max_ns = 0;
};

// The smallest value such that at least `share` (0 .. 1) of the values are not larger (nearest
// rank). `sorted` is ascending and not empty.
int64_t Percentile(absl::Span<const int64_t> sorted, double share);

// How many are at most `millis`; all when that is 0.
int64_t CountWithin(absl::Span<const int64_t> latencies_ns, double millis);

// Sorts `latencies_ns`.
LatencySummary Summarize(std::vector<int64_t> latencies_ns);

}  // namespace bitmill
