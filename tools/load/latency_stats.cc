#include "tools/load/latency_stats.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace bitmill {

int64_t Percentile(absl::Span<const int64_t> sorted, double share) {
  BITMILL_CHECK(!sorted.empty());
  // The tolerance keeps 0.9 * 10 (a hair above 9 in binary) from asking for the tenth value.
  constexpr double kRankTolerance = 1e-9;
  const double count = static_cast<double>(sorted.size());
  const auto rank = static_cast<int64_t>(std::ceil(share * count * (1.0 - kRankTolerance)));
  const int64_t last = static_cast<int64_t>(sorted.size()) - 1;
  return sorted[static_cast<size_t>(std::clamp<int64_t>(rank - 1, 0, last))];
}

int64_t CountWithin(absl::Span<const int64_t> latencies_ns, double millis) {
  if (millis <= 0) return static_cast<int64_t>(latencies_ns.size());
  return std::count_if(latencies_ns.begin(), latencies_ns.end(), [millis](int64_t latency_ns) {
    return static_cast<double>(latency_ns) <= millis * 1e6;
  });
}

LatencySummary Summarize(std::vector<int64_t> latencies_ns) {
  LatencySummary summary;
  if (latencies_ns.empty()) return summary;
  std::sort(latencies_ns.begin(), latencies_ns.end());
  double sum = 0.0;
  for (const int64_t latency : latencies_ns) sum += static_cast<double>(latency);
  summary.count = static_cast<int64_t>(latencies_ns.size());
  summary.mean_ns = sum / static_cast<double>(summary.count);
  summary.min_ns = latencies_ns.front();
  summary.p50_ns = Percentile(latencies_ns, 0.50);
  summary.p90_ns = Percentile(latencies_ns, 0.90);
  summary.p99_ns = Percentile(latencies_ns, 0.99);
  summary.p999_ns = Percentile(latencies_ns, 0.999);
  summary.max_ns = latencies_ns.back();
  return summary;
}

}  // namespace bitmill
