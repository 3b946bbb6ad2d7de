#include "server/batch/cost_model.h"

#include <algorithm>
#include <bit>

namespace bitmill {
namespace {
constexpr float kWeight = 1.0F / 8;       // of a new observation
constexpr float kLargestJump = 4.0F;      // of one observation over the estimate
constexpr float kLargestNanos = 3.6e12F;  // an hour
}  // namespace

int CostModel::BucketOf(int64_t rows) {
  const int log2 = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(rows, 1))) - 1;
  return std::min(log2, kBuckets - 1);
}

void CostModel::Observe(int64_t rows, int64_t ns) {
  if (rows <= 0 || ns <= 0) return;
  std::atomic<float>& estimate = ns_per_row_[static_cast<size_t>(BucketOf(rows))];
  const float old = estimate.load(std::memory_order_relaxed);
  float seen = std::min(static_cast<float>(ns), kLargestNanos) / static_cast<float>(rows);
  if (old > 0) seen = old + kWeight * (std::min(seen, kLargestJump * old) - old);
  estimate.store(seen, std::memory_order_relaxed);
}

int64_t CostModel::PredictNanos(int64_t rows) const {
  if (rows <= 0) return 0;
  const int bucket = BucketOf(rows);
  const auto at = [&](int i) {
    return ns_per_row_[static_cast<size_t>(i)].load(std::memory_order_relaxed);
  };
  float per_row = 0;
  for (int i = bucket; i >= 0 && per_row <= 0; --i) per_row = at(i);
  for (int i = bucket + 1; i < kBuckets && per_row <= 0; ++i) per_row = at(i);
  return static_cast<int64_t>(std::min(per_row * static_cast<float>(rows), kLargestNanos));
}

}  // namespace bitmill
