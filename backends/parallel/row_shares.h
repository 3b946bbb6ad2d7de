// Data parallelism: how many rows of a batch each executable gets.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "backends/parallel/parallel_options.h"
#include "backends/route_table.h"

namespace bitmill {

// Shares that are predicted to be finished at the same time: by the tables that were measured at
// the load, times how much longer than that batches have taken of late. Thread-safe.
class RowShares {
 public:
  // A table a part, 1 .. kMostParts of them, all of the same sizes.
  explicit RowShares(std::vector<RouteTable> tables);

  size_t parts() const { return tables_.size(); }
  // Fills in the rows of each part; some may get none. `counts` has parts() entries. Allocates
  // nothing and takes a few microseconds.
  void Split(int64_t rows, absl::Span<int64_t> counts) const;
  // The part that is predicted to be fastest with all rows.
  size_t Fastest(int64_t rows) const;
  // A part took `ns` for `rows` rows.
  void Observe(size_t part, int64_t rows, int64_t ns);

  double drift(size_t part) const { return drift_[part].load(std::memory_order_relaxed); }
  const RouteTable& table(size_t part) const { return tables_[part]; }

 private:
  double Predict(size_t part, int64_t rows) const;
  // The most rows, up to `most`, that the part finishes within `ns`.
  int64_t RowsWithin(size_t part, double ns, int64_t most) const;

  const std::vector<RouteTable> tables_;
  std::vector<std::atomic<double>> drift_;
};

}  // namespace bitmill
