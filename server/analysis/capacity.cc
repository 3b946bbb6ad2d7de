#include "server/analysis/capacity.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "server/analysis/queue_replay.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6, kMillisPerSecond = 1e3;
constexpr double kLeastCpuShare = 0.01;

// The grid. The longer a queue remembers, the more requests it takes until its p99 is known to a
// few percent; nearest to saturation p99 is so steep that the load is known well with less.
struct GridLoad {
  double load = 0;
  double requests = 1;  // times `requests`
};
constexpr std::array<GridLoad, 13> kGrid = {{{0.02, 0.5},
                                             {0.1, 0.5},
                                             {0.2, 0.5},
                                             {0.35, 0.5},
                                             {0.5, 1},
                                             {0.6, 1.5},
                                             {0.7, 3},
                                             {0.78, 4},
                                             {0.85, 6},
                                             {0.9, 8},
                                             {0.94, 4},
                                             {0.97, 3},
                                             {0.985, 3}}};
constexpr double kLastLoad = kGrid.back().load;
constexpr double kUnitNanos = 1e8;  // S(max_rows) in the replays
constexpr double kLikeShare = 0.03, kLikeRows = 0.1, kLikeRatios = 0.02;
constexpr int kEnoughStalls = 128, kMostTimes = 8;
constexpr double kLikeStalls = 0.25, kFewStalls = 0.02;  // relative; of the time

double Deviation(const std::vector<double>& ratios) {
  double square = 0;
  for (const double ratio : ratios) square += (ratio - 1) * (ratio - 1);
  return std::sqrt(square / static_cast<double>(ratios.size()));
}

template <typename Number>
double Mean(const std::vector<Number>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Numbers that look random and are the same each time: splitmix64 (Steele and others, 2014).
class Numbers {
 public:
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  double Exponential() {
    constexpr double kSteps = 9007199254740992.0;  // 2^53
    return -std::log((static_cast<double>(Next() >> 11) + 0.5) / kSteps);
  }

 private:
  uint64_t state_ = 1;
};

// Gives the values in an order that looks random, each once before any comes again: a few draws are
// as representative as many independent ones.
class Deck {
 public:
  explicit Deck(const std::vector<double>& values) : values_(values), at_(values.size()) {}
  double Next(Numbers& numbers) {
    if (at_ == values_.size()) {
      for (size_t i = values_.size() - 1; i > 0; --i) {
        std::swap(values_[i], values_[numbers.Next() % (i + 1)]);
      }
      at_ = 0;
    }
    return values_[at_++];
  }

 private:
  std::vector<double> values_;
  size_t at_;
};

// Requests of the shape's sizes with exponential gaps.
std::vector<ReplayRequest> Arrivals(const QueueShape& shape, double load, int requests) {
  Numbers numbers;
  const double rows_per_unit = load * shape.instances * static_cast<double>(shape.max_rows);
  const double gap_ns = kUnitNanos * Mean(shape.request_rows) / rows_per_unit;
  std::vector<double> gaps(static_cast<size_t>(requests));
  for (double& gap : gaps) gap = numbers.Exponential();
  // The mean is made exact: a tenth of a percent of load is a percent of p99 near saturation.
  const double mean =
      std::accumulate(gaps.begin(), gaps.end(), 0.0) / static_cast<double>(requests);
  std::vector<ReplayRequest> arrivals(static_cast<size_t>(requests));
  double at = 0;
  for (size_t i = 0; i < arrivals.size(); ++i) {
    at += gap_ns * gaps[i] / mean;
    arrivals[i].arrive_ns = static_cast<MonotonicNanos>(at);
    const int32_t rows = shape.request_rows[numbers.Next() % shape.request_rows.size()];
    arrivals[i].rows = static_cast<int32_t>(std::clamp<int64_t>(rows, 1, shape.max_rows));
  }
  return arrivals;
}

struct Replayed {
  double p99 = 0;
  int stalls = 0;
  int64_t requests = 0;
};

Replayed ReplayOnce(const QueueShape& shape, double load, int requests) {
  const std::vector<ReplayRequest> arrivals = Arrivals(shape, load, requests);
  const ModelControls controls{.max_rows = shape.max_rows,
                               .max_delay_ns = std::llround(shape.delay * kUnitNanos),
                               .instances = shape.instances,
                               .max_queue_requests = std::numeric_limits<int64_t>::max()};
  Numbers numbers;
  const double typical_ns = kUnitNanos / shape.stretch();
  const double b = (1 - shape.share_a) / static_cast<double>(shape.max_rows);
  Replayed replayed{.requests = requests};
  Deck stalls(shape.stalls);
  double due = 0.5;  // stalls: as many as there should be, evenly, so that few are representative
  const ServiceTime service = [&](int64_t rows, MonotonicNanos, int) {
    const double typical = shape.share_a + b * static_cast<double>(rows);
    double takes = typical * shape.ratios[numbers.Next() % shape.ratios.size()];
    due += shape.stall_rate * typical;
    if (due >= 1 && !shape.stalls.empty()) {
      takes += stalls.Next(numbers);
      due -= 1;
      ++replayed.stalls;
    }
    return std::llround(typical_ns * takes);
  };
  const ReplayResult result = Replay(arrivals, controls, service);
  replayed.p99 = static_cast<double>(result.LatencyQuantile(0.99)) / kUnitNanos;
  return replayed;
}

// Where stalls are rare they may be what p99 is made of: it takes some of them.
Replayed ReplayLoad(const QueueShape& shape, double load, int requests) {
  const Replayed once = ReplayOnce(shape, load, requests);
  if (shape.stalls.empty() || once.stalls >= kEnoughStalls) return once;
  const int more = std::min(kEnoughStalls / std::max(once.stalls, 1), kMostTimes);
  if (more <= 1) return once;
  Replayed again = ReplayOnce(shape, load, more * requests);
  again.requests += once.requests;
  return again;
}

}  // namespace

double SaturationRowsPerSecond(const ServiceLine& line, int64_t max_rows, double parallel) {
  const auto rows = static_cast<double>(std::max<int64_t>(max_rows, 1));
  const double full_ms = line.a_ms + line.b_ms * rows;
  if (line.samples == 0 || !(full_ms > 0)) return 0;
  return parallel * rows * kMillisPerSecond / full_ms;
}

Saturation SaturationOf(const ServingCost& cost) {
  Saturation least{
      .rows_per_s = SaturationRowsPerSecond(cost.line, cost.max_rows, std::max(cost.instances, 1))};
  if (least.rows_per_s <= 0) return least;
  const auto lower = [&least](CapacityLimit limit, double at_a_time, double row_ms) {
    if (at_a_time <= 0 || row_ms <= 0) return;
    const double rows_per_s = at_a_time * kMillisPerSecond / row_ms;
    if (rows_per_s < least.rows_per_s) least = {.rows_per_s = rows_per_s, .limit = limit};
  };
  const double receive_ms = cost.receive_ms / std::max(cost.rows_per_request, 1.0);
  lower(CapacityLimit::kIoThreads, std::max(cost.io_threads, 1), receive_ms);
  const auto rows = static_cast<double>(std::max<int64_t>(cost.max_rows, 1));
  const double run_ms = (cost.line.a_ms + cost.line.b_ms * rows) / rows *
                        std::clamp(cost.cpu_share, kLeastCpuShare, 1.0);
  lower(CapacityLimit::kCpus, cost.cpu_budget_cores,
        receive_ms + (1 - std::clamp(cost.inline_share, 0.0, 1.0)) * run_ms);
  return least;
}

double QueueShape::stretch() const { return stalls.empty() ? 1 : 1 + stall_rate * Mean(stalls); }

bool QueueShape::Like(const QueueShape& other) const {
  const double stalled = stretch() - 1, theirs = other.stretch() - 1;
  return max_rows == other.max_rows && instances == other.instances &&
         std::abs(share_a - other.share_a) <= kLikeShare &&
         std::abs(delay - other.delay) <= kLikeRows * std::max(delay, other.delay) &&
         std::abs(Deviation(ratios) - Deviation(other.ratios)) <= kLikeRatios &&
         std::abs(stalled - theirs) <= kLikeStalls * std::max(stalled, theirs) + kFewStalls &&
         std::abs(Mean(request_rows) / Mean(other.request_rows) - 1) <= kLikeRows;
}

QueueShape ShapeOf(const ServiceLine& line, const ModelControls& controls,
                   const Variation& variation) {
  QueueShape shape;
  shape.max_rows = std::max<int64_t>(controls.max_rows, 1);
  shape.instances = std::max(controls.instances, 1);
  const double full_ms = line.a_ms + line.b_ms * static_cast<double>(shape.max_rows);
  if (!(full_ms > 0)) return shape;
  shape.share_a = line.a_ms / full_ms;
  shape.delay = static_cast<double>(controls.max_delay_ns) / kNanosPerMilli / full_ms;
  const double typical_ms = full_ms / variation.stretch();
  shape.ratios = variation.ratios;
  shape.stall_rate = variation.stalls_per_ms * typical_ms;
  for (const double ms : variation.stall_ms) shape.stalls.push_back(ms / typical_ms);
  return shape;
}

LatencyCurve::LatencyCurve(const QueueShape& shape, int requests)
    : shape_(shape), requests_(requests) {}

double LatencyCurve::At(size_t i) {
  while (p99_.size() <= i) {
    const GridLoad& next = kGrid[p99_.size()];
    const Replayed replayed =
        ReplayLoad(shape_, next.load, static_cast<int>(requests_ * next.requests));
    replayed_ += replayed.requests;
    // A delay makes p99 fall with the load at first, which is no reason to refuse a low one: what
    // is asked is the p99 at this load or at less.
    p99_.push_back(p99_.empty() ? replayed.p99 : std::max(p99_.back(), replayed.p99));
  }
  return p99_[i];
}

double LatencyCurve::P99(double load) {
  if (!known()) return 0;
  if (load >= 1) return std::numeric_limits<double>::infinity();
  if (load >= kLastLoad) return At(kGrid.size() - 1) * (1 - kLastLoad) / (1 - load);
  if (load <= kGrid.front().load) return At(0);
  size_t above = 1;
  while (kGrid[above].load <= load) ++above;
  const double from = kGrid[above - 1].load;
  const double share = (load - from) / (kGrid[above].load - from);
  return At(above - 1) + share * (At(above) - At(above - 1));
}

double LatencyCurve::LoadWithin(double p99) {
  if (!known() || p99 < At(0)) return 0;
  size_t above = 1;
  while (above < kGrid.size() && At(above) <= p99) ++above;
  if (above == kGrid.size()) return 1 - (1 - kLastLoad) * p99_.back() / p99;
  const double step = At(above) - At(above - 1);
  const double share = step > 0 ? (p99 - At(above - 1)) / step : 0;
  return kGrid[above - 1].load + share * (kGrid[above].load - kGrid[above - 1].load);
}

}  // namespace bitmill
