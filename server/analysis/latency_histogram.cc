#include "server/analysis/latency_histogram.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace bitmill {
namespace {

constexpr double kSmallestUpperMs = 1.0 / 1024;
constexpr double kLargestUpperMs = 1073741824.0;
constexpr double kStepsPerTwo = 32;  // of a fraction of 0.5 to 1: 16 steps to a power of two

LatencyHistogram FromMap(const std::map<double, double>& counts) {
  LatencyHistogram histogram;
  for (const auto& [upper, count] : counts) {
    histogram.upper_ms.push_back(upper);
    histogram.counts.push_back(count);
  }
  return histogram;
}

void AddTo(std::map<double, double>& counts, const LatencyHistogram& from) {
  const size_t buckets = std::min(from.upper_ms.size(), from.counts.size());
  double last = 0;
  for (size_t i = 0; i < buckets; ++i) {
    if (!(from.upper_ms[i] > last) || !std::isfinite(from.upper_ms[i])) continue;
    last = from.upper_ms[i];
    if (from.counts[i] > 0 && std::isfinite(from.counts[i])) counts[last] += from.counts[i];
  }
}

}  // namespace

double BucketUpperMs(double ms) {
  if (!(ms > kSmallestUpperMs)) return kSmallestUpperMs;
  if (ms >= kLargestUpperMs) return kLargestUpperMs;
  int exponent = 0;
  const double fraction = std::frexp(ms, &exponent);
  return std::ldexp(std::ceil(fraction * kStepsPerTwo) / kStepsPerTwo, exponent);
}

double BucketLowerMs(double upper_ms) {
  if (!(upper_ms > kSmallestUpperMs)) return 0;
  int exponent = 0;
  const double fraction = std::frexp(upper_ms, &exponent);
  // An end that is a power of two closes the octave below it, whose steps are half as long.
  const double step = fraction == 0.5 ? 0.5 / kStepsPerTwo : 1 / kStepsPerTwo;
  return std::ldexp(fraction - step, exponent);
}

LatencyHistogram HistogramOf(absl::Span<const double> latencies_ms, double weight) {
  std::map<double, double> counts;
  for (const double ms : latencies_ms) counts[BucketUpperMs(ms)] += weight;
  return FromMap(counts);
}

void MergeInto(LatencyHistogram& into, const LatencyHistogram& from) {
  std::map<double, double> counts;
  AddTo(counts, into);
  AddTo(counts, from);
  into = FromMap(counts);
}

double QuantileMs(const LatencyHistogram& histogram, double quantile) {
  double total = 0;
  for (const double count : histogram.counts) total += count;
  const double wanted = std::clamp(quantile, 0.0, 1.0) * total;
  double below = 0;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    const double count = histogram.counts[i];
    if (below + count >= wanted && count > 0) {
      const double lower = BucketLowerMs(histogram.upper_ms[i]);
      return lower + (histogram.upper_ms[i] - lower) * (wanted - below) / count;
    }
    below += count;
  }
  return histogram.upper_ms.empty() ? 0 : histogram.upper_ms.back();
}

}  // namespace bitmill
