#include "server/analysis/limit_share.h"

#include <algorithm>

namespace bitmill {
namespace {

constexpr double kTolerance = 1.15;  // of a measured rate: it was not measured at this very time

}  // namespace

LimitShare ShareOfLimits(const ModelFacts& facts, const MachineLimits& limits, double rows,
                         double executions, double busy_ns) {
  LimitShare share;
  if (busy_ns <= 0) return share;
  if (facts.compute_floor_ns > 0) {
    share.compute = std::min(rows * facts.compute_floor_ns / busy_ns, 1.0);
  }
  const double bytes = static_cast<double>(facts.weight_bytes) * executions;
  for (const double rate : {limits.dram_bytes_per_s, limits.l3_bytes_per_s, limits.l2_bytes_per_s,
                            limits.l1_bytes_per_s}) {
    if (rate <= 0 || bytes <= 0) continue;
    const double of_busy = bytes / rate * 1e9 / busy_ns;
    if (of_busy > kTolerance) continue;
    share.memory = std::min(of_busy, 1.0);
    break;
  }
  return share;
}

}  // namespace bitmill
