#include "kernels/roofline/burst.h"

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace bitmill {
namespace {

constexpr double kBurstSeconds = 1e-3;

}  // namespace

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int64_t TurnsOfBurst(const std::function<void()>& run) {
  run();
  const double start = ThreadSeconds();
  run();
  const double once = std::max(ThreadSeconds() - start, 1e-9);
  return std::max<int64_t>(1, static_cast<int64_t>(kBurstSeconds / once));
}

double Quantile(std::vector<double> values, double q) {
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace bitmill
