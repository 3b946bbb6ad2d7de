// Histograms with the bounds that the text formats show.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bitmill {

template <size_t kBounds>
struct HistogramCounts {
  std::array<int64_t, kBounds + 1> buckets{};  // not cumulative
  int64_t sum = 0;
};

// The first bucket whose bound is not below the value; what is above all of them falls into one
// more.
template <size_t kBounds>
constexpr size_t BucketOf(const std::array<int64_t, kBounds>& bounds, int64_t value) {
  size_t bucket = 0;
  for (const int64_t bound : bounds) bucket += value > bound ? 1 : 0;
  return bucket;
}

// Thread-safe.
template <size_t kBounds>
class AtomicHistogram {
 public:
  void Add(const std::array<int64_t, kBounds>& bounds, int64_t value) {
    buckets_[BucketOf(bounds, value)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
  }
  void AddTo(HistogramCounts<kBounds>& counts) const {
    for (size_t i = 0; i <= kBounds; ++i) {
      counts.buckets[i] += buckets_[i].load(std::memory_order_relaxed);
    }
    counts.sum += sum_.load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<int64_t>, kBounds + 1> buckets_{};
  std::atomic<int64_t> sum_{0};
};

}  // namespace bitmill
