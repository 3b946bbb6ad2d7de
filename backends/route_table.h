// How long batches of a model take on a backend that does nothing else, measured when the model is
// loaded: what routing starts from (batch_router.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "base/clock.h"

namespace bitmill {

// By size of batch: the powers of two below the largest batch, and that.
struct RouteTable {
  std::string backend;        // "cpu"
  std::vector<int64_t> rows;  // 1, 2, 4 ..; ascending
  std::vector<int64_t> ns;    // of a batch of as many rows; at least 1
  int measured = 0;           // sizes; the others were estimated from those

  // Between two sizes a straight line; `batch_rows` is at least 1, and counts as the largest size
  // where it is larger.
  int64_t NsFor(int64_t batch_rows) const;
};

// 1, 2, 4 .. below `max_rows`, then `max_rows`.
std::vector<int64_t> RouteSizes(int64_t max_rows);

// The smallest size from which on `device` is faster than `cpu`, at that size and all larger ones;
// 0: not even the largest. Both have the same sizes.
int64_t BreakEvenRows(const RouteTable& cpu, const RouteTable& device);

struct RouteBudget {
  int64_t ns = 0;
  int64_t bytes = 0;  // of this machine's memory; 0: no limit
};

// Runs rows of zeros, each size once and then some times more of which the median counts, a few
// milliseconds each: one row and two, then the largest batch, then what lies between. A size of
// which two runs would go beyond what is left of the budget is estimated. So the budget is exceeded
// by one run at most, unless one row alone takes that long. ResourceExhausted, before anything is
// allocated, when the contexts of all together and their rows do not fit; otherwise errors are
// those of running, with the backend's name. The executables have the same signature and take
// `max_rows` rows.
absl::StatusOr<std::vector<RouteTable>> MeasureRoutes(
    absl::Span<const Executable* const> executables, int64_t max_rows, const RouteBudget& budget,
    const Clock& clock);

}  // namespace bitmill
