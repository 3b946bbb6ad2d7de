#include "backends/route_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/zero_batch.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr size_t kMostRuns = 9;  // of a size, that count

// The indices of sizes in the order of being measured: the two smallest, which tell what a row
// costs from what a batch does, the largest, then the middle of each gap.
std::vector<size_t> MeasuringOrder(size_t sizes) {
  std::vector<size_t> order = {0};
  if (sizes > 1) order.push_back(1);
  if (sizes > 2) order.push_back(sizes - 1);
  std::vector<std::pair<size_t, size_t>> gaps = {{1, sizes - 1}};
  for (size_t i = 0; i < gaps.size(); ++i) {
    const auto [low, high] = gaps[i];
    if (high < low + 2) continue;
    const size_t middle = (low + high) / 2;
    order.push_back(middle);
    gaps.emplace_back(low, middle);
    gaps.emplace_back(middle, high);
  }
  return order;
}

// What the size at `index` takes, by the sizes that were measured (the others have 0 ns).
int64_t Estimate(const RouteTable& table, size_t index) {
  const auto known = [&table](size_t i) { return table.ns[i] > 0; };
  size_t below = index;  // one row is always measured
  while (!known(below)) --below;
  size_t other = index;
  while (other < table.ns.size() && !known(other)) ++other;
  const auto rows = static_cast<double>(table.rows[index] - table.rows[below]);
  const auto start = static_cast<double>(table.ns[below]);
  double row_ns = start / static_cast<double>(table.rows[below]);
  if (other == table.ns.size()) {  // the line through the two largest that are known
    other = below;
    while (other > 0 && (other == below || !known(other))) --other;
  }
  if (other != below) {
    const double slope = (static_cast<double>(table.ns[other]) - start) /
                         static_cast<double>(table.rows[other] - table.rows[below]);
    row_ns = std::max(slope, 0.0);
  }
  return std::max<int64_t>(1, static_cast<int64_t>(start + row_ns * rows));
}

// A model on one backend.
class RouteRunner {
 public:
  // `zeros`: of the largest batch; outlives this.
  RouteRunner(const Executable& executable, const ZeroBatch& zeros, const Clock& clock)
      : executable_(executable),
        zeros_(zeros),
        clock_(clock),
        context_(executable.CreateContext()) {}

  absl::StatusOr<int64_t> Time(int64_t rows) {
    BatchRows batch = zeros_.rows();
    batch.rows = rows;
    const MonotonicNanos start = clock_.Now();
    const absl::Status status = executable_.Run(batch, *context_);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("backend ", executable_.backend_name(),
                                                      ", batch of ", rows, ": ", status.message()));
    }
    return std::max<int64_t>(1, clock_.Now() - start);
  }

 private:
  const Executable& executable_;
  const ZeroBatch& zeros_;
  const Clock& clock_;
  const std::unique_ptr<ExecutionContext> context_;
};

// One run that does not count, then as many as fit into `budget_ns`, one at least.
absl::StatusOr<int64_t> MedianNs(RouteRunner& runner, int64_t rows, int64_t budget_ns,
                                 const Clock& clock) {
  const MonotonicNanos start = clock.Now();
  BITMILL_RETURN_IF_ERROR(runner.Time(rows).status());
  std::array<int64_t, kMostRuns> times{};
  size_t runs = 0;
  do {
    BITMILL_ASSIGN_OR_RETURN(times[runs], runner.Time(rows));
    ++runs;
  } while (runs < kMostRuns && clock.Now() - start < budget_ns);
  const auto middle = times.begin() + static_cast<ptrdiff_t>(runs / 2);
  std::nth_element(times.begin(), middle, times.begin() + static_cast<ptrdiff_t>(runs));
  return *middle;
}

}  // namespace

int64_t RouteTable::NsFor(int64_t batch_rows) const {
  const auto log2 = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(batch_rows))) - 1;
  if (log2 + 1 >= rows.size()) return ns.back();
  const int64_t low = rows[log2], high = rows[log2 + 1];
  if (batch_rows >= high) return ns[log2 + 1];  // the largest batch is no power of two
  const int64_t rise = (ns[log2 + 1] - ns[log2]) * (batch_rows - low);
  // All gaps but the last are as wide as they begin: a shift, where a division takes a while.
  return ns[log2] + (high - low == low ? rise >> log2 : rise / (high - low));
}

std::vector<int64_t> RouteSizes(int64_t max_rows) {
  std::vector<int64_t> sizes;
  for (int64_t rows = 1; rows < max_rows; rows *= 2) sizes.push_back(rows);
  sizes.push_back(max_rows);
  return sizes;
}

int64_t BreakEvenRows(const RouteTable& cpu, const RouteTable& device) {
  size_t from = cpu.rows.size();
  while (from > 0 && device.ns[from - 1] < cpu.ns[from - 1]) --from;
  return from < cpu.rows.size() ? cpu.rows[from] : 0;
}

absl::StatusOr<std::vector<RouteTable>> MeasureRoutes(
    absl::Span<const Executable* const> executables, int64_t max_rows, const RouteBudget& budget,
    const Clock& clock) {
  BITMILL_CHECK(max_rows >= 1);
  BITMILL_RETURN_IF_ERROR(CheckTrialFits(executables, max_rows, budget.bytes));
  const MonotonicNanos start = clock.Now();
  const std::vector<int64_t> sizes = RouteSizes(max_rows);
  const ZeroBatch zeros(executables.front()->signature(), max_rows);
  std::vector<RouteTable> tables;
  std::vector<std::unique_ptr<RouteRunner>> runners;
  for (const Executable* const executable : executables) {
    runners.push_back(std::make_unique<RouteRunner>(*executable, zeros, clock));
    tables.push_back({.backend = executable->backend_name(),
                      .rows = sizes,
                      .ns = std::vector<int64_t>(sizes.size())});
  }
  const int64_t share_ns = budget.ns / static_cast<int64_t>(sizes.size() * executables.size());
  for (const size_t i : MeasuringOrder(sizes.size())) {
    for (size_t b = 0; b < tables.size(); ++b) {
      RouteTable& table = tables[b];
      const int64_t left_ns = start + budget.ns - clock.Now();
      if (i > 0 && Estimate(table, i) > left_ns / 2) continue;
      BITMILL_ASSIGN_OR_RETURN(table.ns[i], MedianNs(*runners[b], sizes[i], share_ns, clock));
      ++table.measured;
    }
  }
  for (RouteTable& table : tables) {
    const RouteTable known = table;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (known.ns[i] == 0) table.ns[i] = Estimate(known, i);
    }
  }
  return tables;
}

}  // namespace bitmill
