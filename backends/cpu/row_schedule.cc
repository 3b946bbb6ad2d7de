#include "backends/cpu/row_schedule.h"

#include <algorithm>
#include <limits>

namespace bitmill {
namespace {

// Bytes in a microsecond: from the second-level cache, and from beyond it.
constexpr double kNearBytes = 5e4;
constexpr double kFarBytes = 2e4;
// Of weights, on their way from a cache to where they are multiplied: what tiles gained with eight
// images over one (docs/decisions/0013-bits-as-bytes-on-tiles.md).
constexpr double kWeightBytes = 1.4e4;
// Microseconds of a step besides, however many rows it takes.
constexpr double kStepMicros = 0.2;
// What passes between segments takes so many times the cache at most.
constexpr int64_t kMaxCaches = 2;

class Scheduler {
 public:
  Scheduler(absl::Span<const ScheduledStep> steps, int64_t cache_bytes)
      : steps_(steps), cache_bytes_(cache_bytes) {
    for (const ScheduledStep& step : steps) all_weights_ += step.weight_bytes;
  }

  // The cheapest one of chunks of `sizes.back()` rows in which steps take one of `sizes`; `cost`
  // of a row.
  RowSchedule Best(absl::Span<const int64_t> sizes, double* cost) const {
    const size_t count = sizes.size();
    const int64_t chunk = sizes.back();
    std::vector<double> costs(count, 0.0);
    std::vector<std::vector<size_t>> from;  // [step][size]: the size of the step before
    for (size_t i = 0; i < steps_.size(); ++i) {
      std::vector<double> next(count);
      from.emplace_back(count);
      const double passing = i == 0 ? 0.0 : PassingMicros(i, chunk);
      for (size_t s = 0; s < count; ++s) {
        size_t best = s;
        double least = costs[s];
        for (size_t other = 0; other < count; ++other) {
          if (costs[other] + passing < least) {
            best = other;
            least = costs[other] + passing;
          }
        }
        from.back()[s] = best;
        next[s] = least + StepMicros(steps_[i], sizes[s]);
      }
      costs = std::move(next);
    }
    const auto least = std::min_element(costs.begin(), costs.end());
    *cost = *least;
    return Traced(sizes, from, static_cast<size_t>(least - costs.begin()));
  }

 private:
  // Which part of the bytes that are used together does not stay in the cache: half of it counts.
  double Beyond(int64_t bytes) const {
    const int64_t kept = cache_bytes_ / 2;
    return bytes <= kept ? 0.0 : 1.0 - static_cast<double>(kept) / static_cast<double>(bytes);
  }

  static double Micros(int64_t bytes, double beyond) {
    return static_cast<double>(bytes) * ((1.0 - beyond) / kNearBytes + beyond / kFarBytes);
  }

  // Of a row, where `rows` run together.
  double StepMicros(const ScheduledStep& step, int64_t rows) const {
    const auto share = 1.0 / static_cast<double>(rows);
    const double values =
        Micros(step.value_bytes, Beyond(rows * step.live_bytes + step.weight_bytes));
    const double weights = static_cast<double>(step.weight_bytes) / kWeightBytes;
    // Rows after the first find them in the cache; between groups all others pass through it.
    const double first = Micros(step.weight_bytes, Beyond(all_weights_ + step.live_bytes));
    const double later =
        step.rows_together ? 0.0 : Micros(step.weight_bytes, Beyond(step.weight_bytes));
    return values + kStepMicros * share + weights * (step.rows_together ? share : 1.0) +
           first * share + later * (1.0 - share);
  }

  // Of a row, for values that wait until all rows of the chunk are there.
  double PassingMicros(size_t step, int64_t chunk) const {
    const int64_t bytes = steps_[step].entering_bytes;
    if (bytes * chunk > kMaxCaches * cache_bytes_) return std::numeric_limits<double>::infinity();
    return 2.0 * (Micros(bytes, Beyond(bytes * chunk)) - Micros(bytes, 0.0)) + kStepMicros;
  }

  static RowSchedule Traced(absl::Span<const int64_t> sizes,
                            const std::vector<std::vector<size_t>>& from, size_t last) {
    RowSchedule schedule;
    schedule.chunk_rows = sizes.back();
    size_t size = last;
    for (size_t i = from.size(); i-- > 0; size = from[i][size]) {
      if (!schedule.segments.empty() && schedule.segments.back().rows == sizes[size]) {
        schedule.segments.back().first = i;
      } else {
        schedule.segments.push_back({i, i + 1, sizes[size]});
      }
    }
    std::reverse(schedule.segments.begin(), schedule.segments.end());
    return schedule;
  }

  const absl::Span<const ScheduledStep> steps_;
  const int64_t cache_bytes_;
  int64_t all_weights_ = 0;
};

}  // namespace

RowSchedule ScheduleRows(absl::Span<const ScheduledStep> steps, int64_t max_rows,
                         int64_t cache_bytes) {
  const Scheduler scheduler(steps, cache_bytes);
  RowSchedule best;
  double least = std::numeric_limits<double>::infinity();
  std::vector<int64_t> sizes;
  for (int64_t rows = 1;; rows = std::min(2 * rows, max_rows)) {
    sizes.push_back(rows);
    double cost = 0.0;
    RowSchedule schedule = scheduler.Best(sizes, &cost);
    if (cost < least) {
      least = cost;
      best = std::move(schedule);
    }
    if (rows == max_rows) break;
  }
  // A chunk is no larger than what its steps take at a time.
  int64_t most = 1;
  for (const RowSegment& segment : best.segments) most = std::max(most, segment.rows);
  best.chunk_rows = most;
  return best;
}

}  // namespace bitmill
