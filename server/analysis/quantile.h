// Quantiles of a window's samples.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace bitmill {

// The nearest rank: values[round(quantile * (n - 1))] of the sorted values; 0 for no values.
// Reorders `values`. Linear time.
template <typename T>
T TakeQuantile(std::vector<T>& values, double quantile) {
  if (values.empty()) return T{};
  const auto last = static_cast<double>(values.size() - 1);
  const auto at = static_cast<std::ptrdiff_t>(std::llround(std::clamp(quantile, 0.0, 1.0) * last));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

}  // namespace bitmill
