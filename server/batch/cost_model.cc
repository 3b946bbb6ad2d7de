#include "server/batch/cost_model.h"

#include <algorithm>
#include <bit>

namespace bitmill {
namespace {
constexpr float kWeight = 1.0F / 8;       // of a new observation
constexpr float kLargestJump = 4.0F;      // of one observation over the estimate
constexpr float kLargestNanos = 3.6e12F;  // an hour
constexpr float kLeastSlower = 0.5F, kMostSlower = 8.0F;
}  // namespace

int CostModel::BucketOf(int64_t rows) {
  const int log2 = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(rows, 1))) - 1;
  return std::min(log2, kBuckets - 1);
}

int CostModel::Nearest(int bucket, int step) const {
  for (; bucket >= 0 && bucket < kBuckets; bucket += step) {
    if (At(bucket).rows > 0) return bucket;
  }
  return -1;
}

float CostModel::AloneNanos(int64_t rows) const {
  const auto n = static_cast<float>(rows);
  const int bucket = BucketOf(rows);
  const AverageRun here = At(bucket);
  const int below = here.rows > 0 && here.rows <= n ? bucket : Nearest(bucket - 1, -1);
  const int above = here.rows > n ? bucket : Nearest(bucket + 1, 1);
  if (below < 0 && above < 0) return 0;
  const AverageRun near = At(below >= 0 ? below : above);
  const int beyond = below < 0 ? Nearest(above + 1, 1) : above < 0 ? Nearest(below - 1, -1) : above;
  const float average = near.ns / near.rows;
  float row_ns = average;
  if (beyond >= 0) {
    const AverageRun far = At(beyond);
    row_ns = (far.ns - near.ns) / (far.rows - near.rows);
    // Between two sizes that were seen the line is as it is; outside it is a guess.
    if (below < 0 || above < 0) row_ns = std::clamp(row_ns, 0.0F, average);
  }
  return near.ns + row_ns * (n - near.rows);
}

float CostModel::Slower(int beside) const {
  for (int i = std::min(beside, kBeside) - 1; i >= 0; --i) {
    const float slower = slower_[static_cast<size_t>(i)].load(std::memory_order_relaxed);
    if (slower > 0) return slower;
  }
  return 1;
}

void CostModel::Observe(int64_t rows, int64_t ns, int beside) {
  if (rows <= 0 || ns <= 0) return;
  const auto n = static_cast<float>(rows);
  const float alone = AloneNanos(rows);
  float seen = std::min(static_cast<float>(ns), kLargestNanos);
  if (alone > 0) seen = std::min(seen, kLargestJump * alone * Slower(beside));
  if (beside > 0 && alone > 0) {
    std::atomic<float>& slower = slower_[static_cast<size_t>(std::min(beside, kBeside) - 1)];
    const float old = slower.load(std::memory_order_relaxed);
    const float ratio = seen / alone;
    slower.store(
        std::clamp(old > 0 ? old + kWeight * (ratio - old) : ratio, kLeastSlower, kMostSlower),
        std::memory_order_relaxed);
  }
  seen /= Slower(beside);
  std::atomic<AverageRun>& average = seen_[static_cast<size_t>(BucketOf(rows))];
  const AverageRun old = average.load(std::memory_order_relaxed);
  average.store(old.rows > 0 ? AverageRun{.rows = old.rows + kWeight * (n - old.rows),
                                          .ns = old.ns + kWeight * (seen - old.ns)}
                             : AverageRun{.rows = n, .ns = seen},
                std::memory_order_relaxed);
}

int64_t CostModel::PredictNanos(int64_t rows, int beside) const {
  if (rows <= 0) return 0;
  const float ns = AloneNanos(rows) * Slower(beside);
  return static_cast<int64_t>(std::min(ns, kLargestNanos));
}

}  // namespace bitmill
