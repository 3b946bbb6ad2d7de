#include "tools/load/arrivals.h"

#include <cmath>

#include "base/check.h"

namespace bitmill {

ArrivalSchedule::ArrivalSchedule(ArrivalKind kind, double per_second, uint64_t seed)
    : kind_(kind), interval_ns_(1e9 / per_second), random_(seed) {
  BITMILL_CHECK(per_second > 0.0 && std::isfinite(interval_ns_));
}

int64_t ArrivalSchedule::NextNanos() {
  double gap_ns = interval_ns_;
  if (kind_ == ArrivalKind::kPoisson) {
    // Uniform in (0, 1] from the top 53 bits; written out because the standard's distributions
    // differ between libraries and a seed must mean the same schedule everywhere.
    const double uniform = static_cast<double>((random_() >> 11) + 1) * 0x1.0p-53;
    gap_ns = -std::log(uniform) * interval_ns_;
  }
  time_ns_ += gap_ns;
  return static_cast<int64_t>(time_ns_);
}

}  // namespace bitmill
