#include "server/analysis/quality/drift_scores.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace bitmill {
namespace {

constexpr size_t kQuantiles = 40;
constexpr size_t kPerDecile = kQuantiles / 10;
constexpr double kAdded = 0.5;  // to each bin

int64_t Total(absl::Span<const int64_t> counts) {
  int64_t sum = 0;
  for (const int64_t count : counts) sum += count;
  return sum;
}

}  // namespace

double PopulationStability(absl::Span<const int64_t> sample, absl::Span<const int64_t> reference) {
  const int64_t n = Total(sample), m = Total(reference);
  if (n == 0 || m == 0) return 0;
  const double added = kAdded * static_cast<double>(sample.size());
  double psi = 0;
  for (size_t i = 0; i < sample.size(); ++i) {
    const double p = (static_cast<double>(sample[i]) + kAdded) / (static_cast<double>(n) + added);
    const double q =
        (static_cast<double>(reference[i]) + kAdded) / (static_cast<double>(m) + added);
    psi += (p - q) * std::log(p / q);
  }
  return psi;
}

double KolmogorovSmirnov(absl::Span<const int64_t> sample, absl::Span<const int64_t> reference) {
  const int64_t n = Total(sample), m = Total(reference);
  if (n == 0 || m == 0) return 0;
  double largest = 0;
  int64_t below_n = 0, below_m = 0;
  for (size_t i = 0; i < sample.size(); ++i) {
    below_n += sample[i];
    below_m += reference[i];
    largest = std::max(largest, std::abs(static_cast<double>(below_n) / static_cast<double>(n) -
                                         static_cast<double>(below_m) / static_cast<double>(m)));
  }
  return largest;
}

FeatureReference::FeatureReference(std::vector<float> values) {
  std::erase_if(values, [](float value) { return !std::isfinite(value); });
  if (values.empty()) {
    counts_.assign(1, 0);
    coarse_bins_.assign(1, 0);
    return;
  }
  std::ranges::sort(values);
  smallest_ = values.front();
  largest_ = values.back();
  const auto count = static_cast<double>(values.size());
  for (const float value : values) mean_ += value;
  mean_ /= count;
  double squares = 0;
  for (const float value : values) squares += (value - mean_) * (value - mean_);
  deviation_ = std::sqrt(squares / count);

  std::vector<float> deciles;
  const auto add = [](std::vector<float>& cuts, float cut) {
    if (cuts.empty() || cut > cuts.back()) cuts.push_back(cut);
  };
  const float below = std::nextafter(smallest_, -std::numeric_limits<float>::infinity());
  add(cuts_, below);
  add(deciles, below);
  for (size_t i = 1; i <= kQuantiles; ++i) {
    const size_t place = (i * values.size() + kQuantiles - 1) / kQuantiles;  // ceil(q n)
    add(cuts_, values[place - 1]);
    if (i % kPerDecile == 0) add(deciles, values[place - 1]);
  }
  for (const float cut : cuts_) {
    const auto upper = std::ranges::lower_bound(deciles, cut);
    coarse_bins_.push_back(static_cast<int32_t>(upper - deciles.begin()));
  }
  coarse_bins_.push_back(static_cast<int32_t>(deciles.size()));
  coarse_count_ = static_cast<int>(deciles.size()) + 1;
  counts_.assign(static_cast<size_t>(bins()), 0);
  for (const float value : values) ++counts_[static_cast<size_t>(BinOf(value))];
}

int FeatureReference::BinOf(float value) const {
  return static_cast<int>(std::ranges::lower_bound(cuts_, value) - cuts_.begin());
}

bool FeatureReference::IsOutlier(float value) const {
  return !empty() && std::abs(value - mean_) > kOutlierDeviations * deviation_;
}

std::vector<int64_t> FeatureReference::Coarse(absl::Span<const int64_t> counts) const {
  std::vector<int64_t> coarse(static_cast<size_t>(coarse_count_), 0);
  for (size_t i = 0; i < counts.size(); ++i) {
    coarse[static_cast<size_t>(coarse_bins_[i])] += counts[i];
  }
  return coarse;
}

FeatureReference::Distance FeatureReference::To(absl::Span<const int64_t> sample) const {
  return {PopulationStability(Coarse(sample), Coarse(counts_)), KolmogorovSmirnov(sample, counts_)};
}

}  // namespace bitmill
