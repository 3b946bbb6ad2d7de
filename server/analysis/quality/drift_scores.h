// How far a sample is from a reference: the measures, as pure functions, and the bins of a feature
// that they are taken over.
//
// Bins of a feature come from its reference values (finite ones): below the smallest, above the
// largest, and in between (cut, next cut] at the 40-quantiles; the q-quantile of n sorted values is
// the one at ceil(q n) - 1. Equal quantiles make one cut, so that a pixel which is mostly 0 has few
// bins, and a constant one has three.
//
//   PSI  population stability index over the deciles among these cuts: the sum over bins of
//        (p - q) ln(p / q), where p and q are the shares of the sample and of the reference, each
//        with half a value added to every bin, so that none is 0. Without drift its mean is about
//        (bins - 1)(1/n + 1/m) for samples of n and m. Usual reading: below 0.1 the same, 0.1 to
//        0.25 some change, above 0.25 another distribution.
//   KS   Kolmogorov-Smirnov: the largest difference of the two cumulative shares, at the cuts. It
//        is at most the true one, and less by no more than the largest bin between two cuts (1/40
//        for values that rarely repeat).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace bitmill {

inline constexpr double kPsiSomeChange = 0.1;
inline constexpr double kPsiOtherDistribution = 0.25;
inline constexpr double kOutlierDeviations = 4;  // from the reference's mean

// Counts of bins, of the sample and of the reference, as many of both. 0 where either is empty.
double PopulationStability(absl::Span<const int64_t> sample, absl::Span<const int64_t> reference);
double KolmogorovSmirnov(absl::Span<const int64_t> sample, absl::Span<const int64_t> reference);

class FeatureReference {
 public:
  // Of values in any order; NaN and infinities are left out. Without any finite value there is one
  // bin, and nothing is out of range.
  explicit FeatureReference(std::vector<float> values);

  int bins() const { return static_cast<int>(cuts_.size()) + 1; }
  // Of a number (not NaN).
  int BinOf(float value) const;
  bool InRange(float value) const { return empty() || (value >= smallest_ && value <= largest_); }
  // Beyond kOutlierDeviations standard deviations (of the population) from the mean; of a constant
  // feature: any other value.
  bool IsOutlier(float value) const;

  absl::Span<const int64_t> counts() const { return counts_; }  // of the reference, [bins]
  absl::Span<const float> cuts() const { return cuts_; }
  double mean() const { return mean_; }
  double deviation() const { return deviation_; }

  struct Distance {
    double psi = 0, ks = 0;
  };
  Distance To(absl::Span<const int64_t> sample) const;

 private:
  bool empty() const { return cuts_.empty(); }
  std::vector<int64_t> Coarse(absl::Span<const int64_t> counts) const;

  std::vector<float> cuts_;           // ascending; bin i holds cuts_[i - 1] < x <= cuts_[i]
  std::vector<int32_t> coarse_bins_;  // [bins]: which of the deciles' bins
  int coarse_count_ = 1;
  std::vector<int64_t> counts_;
  float smallest_ = 0, largest_ = 0;
  double mean_ = 0, deviation_ = 0;
};

}  // namespace bitmill
