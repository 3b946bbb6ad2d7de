#include "backends/parallel/row_shares.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace bitmill {
namespace {

constexpr int kHalvings = 20;         // of the time that is searched for
constexpr double kNewWeight = 0.125;  // of an observation in the drift
constexpr double kLeastDrift = 0.05, kMostDrift = 1000.0;

}  // namespace

RowShares::RowShares(std::vector<RouteTable> tables)
    : tables_(std::move(tables)), drift_(tables_.size()) {
  BITMILL_CHECK(!tables_.empty() && tables_.size() <= size_t{kMostParts});
  for (std::atomic<double>& drift : drift_) drift.store(1.0, std::memory_order_relaxed);
}

double RowShares::Predict(size_t part, int64_t rows) const {
  return static_cast<double>(tables_[part].NsFor(rows)) * drift(part);
}

int64_t RowShares::RowsWithin(size_t part, double ns, int64_t most) const {
  int64_t fits = 0, too_many = most + 1;
  while (too_many - fits > 1) {
    const int64_t middle = fits + (too_many - fits) / 2;
    (Predict(part, middle) <= ns ? fits : too_many) = middle;
  }
  return fits;
}

size_t RowShares::Fastest(int64_t rows) const {
  size_t fastest = 0;
  for (size_t p = 1; p < parts(); ++p) {
    if (Predict(p, rows) < Predict(fastest, rows)) fastest = p;
  }
  return fastest;
}

void RowShares::Split(int64_t rows, absl::Span<int64_t> counts) const {
  // The shortest time within which all rows fit; the fastest part alone is one that is enough.
  double short_ns = 0.0, enough_ns = Predict(Fastest(rows), rows);
  const auto fill = [&](double ns) {
    int64_t left = rows;
    for (size_t p = 0; p < parts(); ++p) {
      counts[p] = RowsWithin(p, ns, left);
      left -= counts[p];
    }
    return left;
  };
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (short_ns + enough_ns) / 2;
    (fill(middle) == 0 ? enough_ns : short_ns) = middle;
  }
  if (const int64_t left = fill(enough_ns); left > 0) counts[Fastest(rows)] += left;
}

void RowShares::Observe(size_t part, int64_t rows, int64_t ns) {
  const double seen =
      std::clamp(static_cast<double>(ns) / static_cast<double>(tables_[part].NsFor(rows)),
                 kLeastDrift, kMostDrift);
  // Two that come at once may lose one of both: the next one makes up for it.
  drift_[part].store(drift(part) + kNewWeight * (seen - drift(part)), std::memory_order_relaxed);
}

}  // namespace bitmill
