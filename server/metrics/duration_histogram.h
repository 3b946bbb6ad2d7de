// Durations that are shown twice, in classic and in native buckets, and counted once: a native
// bucket in which a classic bound lies is two counters, one on each side of it. So both are exact
// and agree with each other, at two additions a duration.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "server/metrics/classic_histogram.h"
#include "server/metrics/native_histogram.h"

namespace bitmill {

// Where durations are counted. `kBoundsNs` is an array of classic bounds, growing, of which no two
// lie in the same native bucket.
template <typename Native, const auto& kBoundsNs>
class DurationGrid {
 public:
  static constexpr size_t kBounds = kBoundsNs.size();
  static constexpr size_t kPlaces = Native::kCount + kBounds;

  // Grows with the duration.
  static constexpr size_t Place(int64_t ns) {
    const size_t bucket = Native::Place(ns);
    return kFirst[bucket] + (ns > kSplit[bucket] ? 1 : 0);
  }

  // The place of the native bucket's shortest durations; it has one more where IsSplit().
  static constexpr size_t FirstOf(size_t bucket) { return kFirst[bucket]; }
  static constexpr bool IsSplit(size_t bucket) { return kSplit[bucket] != kNowhere; }

 private:
  static constexpr int64_t kNowhere = std::numeric_limits<int64_t>::max();

  // By native bucket, the classic bound that lies in it.
  static constexpr std::array<int64_t, Native::kCount> kSplit = [] {
    std::array<int64_t, Native::kCount> split{};
    split.fill(kNowhere);
    for (const int64_t bound : kBoundsNs) split[Native::Place(bound)] = bound;
    return split;
  }();

  static constexpr std::array<uint16_t, Native::kCount> kFirst = [] {
    std::array<uint16_t, Native::kCount> first{};
    size_t place = 0;
    for (size_t bucket = 0; bucket < Native::kCount; ++bucket) {
      first[bucket] = static_cast<uint16_t>(place);
      place += kSplit[bucket] != kNowhere ? 2 : 1;
    }
    return first;
  }();

  static_assert(kFirst[Native::kCount - 1] + (kSplit[Native::kCount - 1] != kNowhere ? 2U : 1U) ==
                    kPlaces,
                "two bounds in one native bucket");
};

// What was counted, summed over any number of histograms.
template <typename Native, const auto& kBoundsNs>
struct DurationCounts {
  using Grid = DurationGrid<Native, kBoundsNs>;
  static constexpr const auto& kClassicBoundsNs = kBoundsNs;

  std::array<int64_t, Grid::kPlaces> places{};
  int64_t sum = 0;  // nanoseconds

  HistogramCounts<Grid::kBounds> Classic() const {
    HistogramCounts<Grid::kBounds> classic;
    size_t place = 0;
    for (size_t i = 0; i < Grid::kBounds; ++i) {
      const size_t last = Grid::Place(kBoundsNs[i]);
      for (; place <= last; ++place) classic.buckets[i] += places[place];
    }
    for (; place < Grid::kPlaces; ++place) classic.buckets[Grid::kBounds] += places[place];
    classic.sum = sum;
    return classic;
  }

  NativeCounts InNativeBuckets() const {
    NativeCounts native{.schema = Native::kSchema,
                        .zero_seconds = Native::kZeroSeconds,
                        .first_index = Native::Index(1),
                        .counts = std::vector<int64_t>(Native::kCount)};
    for (size_t bucket = 0; bucket < Native::kCount; ++bucket) {
      const size_t first = Grid::FirstOf(bucket);
      native.counts[bucket] = places[first] + (Grid::IsSplit(bucket) ? places[first + 1] : 0);
    }
    return native;
  }
};

// Thread-safe.
template <typename Native, const auto& kBoundsNs>
class DurationHistogram {
 public:
  using Counts = DurationCounts<Native, kBoundsNs>;

  void Add(int64_t ns) {
    const size_t place = Counts::Grid::Place(ns);
    counts_[place].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(ns, std::memory_order_relaxed);
    const uint64_t group = uint64_t{1} << (place / kGroup);
    if ((used_.load(std::memory_order_relaxed) & group) == 0) {
      used_.fetch_or(group, std::memory_order_relaxed);
    }
  }
  void AddTo(Counts& counts) const {
    for (uint64_t rest = used_.load(std::memory_order_relaxed); rest != 0; rest &= rest - 1) {
      const size_t first = static_cast<size_t>(std::countr_zero(rest)) * kGroup;
      const size_t end = std::min(first + kGroup, counts_.size());
      for (size_t i = first; i < end; ++i) {
        counts.places[i] += counts_[i].load(std::memory_order_relaxed);
      }
    }
    counts.sum += sum_.load(std::memory_order_relaxed);
  }

 private:
  // Most durations of a kind lie close together: a reader looks only at the groups of counters that
  // were ever written to.
  static constexpr size_t kGroup = 16;
  static_assert(Counts::Grid::kPlaces <= 64 * kGroup);

  std::array<std::atomic<int64_t>, Counts::Grid::kPlaces> counts_{};
  std::atomic<int64_t> sum_{0};
  std::atomic<uint64_t> used_{0};  // a bit for each group
};

}  // namespace bitmill
