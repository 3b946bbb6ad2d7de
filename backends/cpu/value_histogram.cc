#include "backends/cpu/value_histogram.h"

#include <algorithm>
#include <cmath>

namespace bitmill {

// Widens the bins until x lies in one. A bin of twice the width is two neighbours together.
void ValueHistogram::Reach(float x) {
  const double size = std::fabs(double{x});
  if (width_ == 0.0) {
    int exponent = 0;
    std::frexp(size, &exponent);  // size < 2^exponent
    width_ = std::ldexp(1.0, exponent) / kHalf;
  }
  while (size >= width_ * kHalf) {
    std::vector<int64_t> wider(counts_.size());
    for (int64_t i = -kHalf; i < kHalf; ++i) {
      const int64_t to = i >= 0 ? i / 2 : -((-i + 1) / 2);
      wider[static_cast<size_t>(to + kHalf)] += counts_[static_cast<size_t>(i + kHalf)];
    }
    counts_ = std::move(wider);
    width_ *= 2.0;
  }
}

void ValueHistogram::Add(absl::Span<const float> values) {
  for (const float x : values) {
    if (!std::isfinite(x)) continue;
    if (x < low_ || x > high_) {
      low_ = std::min(low_, x);
      high_ = std::max(high_, x);
      Reach(x);
    }
    if (width_ == 0.0) {
      ++counts_[kHalf];
      continue;
    }
    const auto bin = static_cast<int64_t>(std::floor(double{x} / width_));
    ++counts_[static_cast<size_t>(bin + kHalf)];
  }
}

double ValueHistogram::ErrorOf(const ActivationRange& range, int32_t levels) const {
  const double step = (double{range.high} - double{range.low}) / (levels - 1);
  const double rounding = step * step / 12.0;
  double error = 0.0;
  for (int64_t i = -kHalf; i < kHalf; ++i) {
    const int64_t count = counts_[static_cast<size_t>(i + kHalf)];
    if (count == 0) continue;
    const double x = (static_cast<double>(i) + 0.5) * width_;
    const double outside = std::max({x - double{range.high}, double{range.low} - x, 0.0});
    error += static_cast<double>(count) * (outside > 0.0 ? outside * outside : rounding);
  }
  return error;
}

ActivationRange ValueHistogram::ClippedRange(int32_t levels) const {
  constexpr int kParts = 64;
  ActivationRange best = Range();
  double smallest = ErrorOf(best, levels);
  for (int part = kParts - 1; part > kParts / 8; --part) {
    const float share = static_cast<float>(part) / kParts;
    const ActivationRange range = {low_ * share, high_ * share};
    const double error = ErrorOf(range, levels);
    if (error < smallest) {
      smallest = error;
      best = range;
    }
  }
  return best;
}

}  // namespace bitmill
