#include "server/analysis/quality/distribution_drift.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace bitmill {
namespace {

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

bool Within(int64_t category, size_t count) {
  return category >= 0 && category < static_cast<int64_t>(count);
}

}  // namespace

RowsReference::RowsReference(absl::Span<const float> values, size_t features,
                             std::vector<int64_t> categories)
    : categories_(std::move(categories)) {
  rows_ = features == 0 ? 0 : static_cast<int64_t>(values.size() / features);
  for (size_t i = 0; i < features; ++i) {
    std::vector<float> column;
    column.reserve(static_cast<size_t>(rows_));
    for (size_t at = i; at < values.size(); at += features) column.push_back(values[at]);
    features_.emplace_back(std::move(column));
    first_bins_.push_back(bins_);
    bins_ += static_cast<size_t>(features_.back().bins());
  }
}

DistributionDrift::DistributionDrift(size_t features, size_t categories, const Limits& limits)
    : feature_count_(features), category_count_(categories), limits_(limits) {
  recording_.categories.assign(category_count_, 0);
}

void DistributionDrift::Record(absl::Span<const float> values, int64_t category) {
  if (recorded_ || recorded_rows_ >= limits_.reference_rows) return;
  recording_.values.insert(recording_.values.end(), values.begin(), values.end());
  if (Within(category, category_count_)) ++recording_.categories[static_cast<size_t>(category)];
  ++recorded_rows_;
}

std::optional<DistributionDrift::Recording> DistributionDrift::TakeRecording() {
  if (recorded_ || reference_ != nullptr || recorded_rows_ < limits_.reference_rows) {
    return std::nullopt;
  }
  recorded_ = true;
  return std::move(recording_);
}

void DistributionDrift::Install(std::shared_ptr<const RowsReference> reference) {
  BITMILL_CHECK(reference->features() == feature_count_);
  reference_ = std::move(reference);
  recorded_ = true;
  recording_ = {};
  for (Slice& slice : slices_) slice = {};
  slices_[newest_].bins.assign(reference_->bins(), 0);
  slices_[newest_].categories.assign(category_count_, 0);
}

DistributionDrift::Slice& DistributionDrift::NewestSlice(MonotonicNanos now) {
  const auto slices = static_cast<int64_t>(kSlices);
  const Slice& newest = slices_[newest_];
  const bool full = newest.rows >= std::max<int64_t>(1, limits_.window_rows / slices);
  const bool old = newest.rows > 0 && now - newest.begin_ns > limits_.window_ns / slices;
  if (full || old) {
    newest_ = (newest_ + 1) % kSlices;
    slices_[newest_] = {};
    slices_[newest_].bins.assign(reference_->bins(), 0);
    slices_[newest_].categories.assign(category_count_, 0);
  }
  Slice& slice = slices_[newest_];
  if (slice.rows == 0) slice.begin_ns = now;
  slice.end_ns = now;
  return slice;
}

void DistributionDrift::Add(MonotonicNanos now, absl::Span<const float> values, int64_t category) {
  BITMILL_CHECK(values.size() == feature_count_);
  totals_.values += static_cast<int64_t>(values.size());
  for (const float value : values) totals_.not_a_number += std::isnan(value) ? 1 : 0;
  if (reference_ == nullptr) {
    Record(values, category);
    return;
  }
  Slice& slice = NewestSlice(now);
  ++slice.rows;
  slice.values += static_cast<int64_t>(values.size());
  int64_t out_of_range = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    if (std::isnan(value)) {
      ++slice.not_a_number;
      continue;
    }
    const FeatureReference& feature = reference_->feature(i);
    ++slice.bins[reference_->first_bin(i) + static_cast<size_t>(feature.BinOf(value))];
    out_of_range += feature.InRange(value) ? 0 : 1;
    slice.outliers += feature.IsOutlier(value) ? 1 : 0;
  }
  slice.out_of_range += out_of_range;
  totals_.out_of_range += out_of_range;
  if (Within(category, category_count_)) ++slice.categories[static_cast<size_t>(category)];
}

DriftScores DistributionDrift::Scores(MonotonicNanos now) const {
  DriftScores scores;
  if (reference_ == nullptr) return scores;
  std::vector<int64_t> bins(reference_->bins(), 0), categories(category_count_, 0);
  Slice sum;
  for (const Slice& slice : slices_) {
    if (slice.rows == 0 || now - slice.end_ns > limits_.window_ns) continue;
    scores.rows += slice.rows;
    sum.values += slice.values;
    sum.not_a_number += slice.not_a_number;
    sum.out_of_range += slice.out_of_range;
    sum.outliers += slice.outliers;
    for (size_t i = 0; i < bins.size(); ++i) bins[i] += slice.bins[i];
    for (size_t i = 0; i < categories.size(); ++i) categories[i] += slice.categories[i];
  }
  scores.not_a_number = Share(sum.not_a_number, sum.values);
  scores.out_of_range = Share(sum.out_of_range, sum.values);
  scores.outliers = Share(sum.outliers, sum.values);
  if (scores.rows < kLeastWindowRows || reference_->rows() < kLeastReferenceRows) return scores;
  for (size_t i = 0; i < feature_count_; ++i) {
    const FeatureReference& feature = reference_->feature(i);
    const auto distance = feature.To(absl::MakeConstSpan(bins).subspan(
        reference_->first_bin(i), static_cast<size_t>(feature.bins())));
    if (distance.psi > scores.psi) {
      scores.psi = distance.psi;
      scores.worst_feature = static_cast<int>(i);
    }
    scores.ks = std::max(scores.ks, distance.ks);
  }
  if (category_count_ > 0 && reference_->categories().size() == category_count_) {
    scores.category_psi = PopulationStability(categories, reference_->categories());
  }
  return scores;
}

std::vector<int64_t> SpreadEvenly(int64_t total, int64_t count) {
  constexpr double kGolden = 0.6180339887498949;  // multiples of it spread evenly over [0, 1)
  std::vector<int64_t> places;
  if (count >= total) {
    for (int64_t i = 0; i < total; ++i) places.push_back(i);
    return places;
  }
  for (int64_t i = 0; i < count; ++i) {
    const double turn = static_cast<double>(i) * kGolden;
    const double inside = turn - std::floor(turn);
    const double place =
        (static_cast<double>(i) + inside) * static_cast<double>(total) / static_cast<double>(count);
    places.push_back(std::min(static_cast<int64_t>(place), total - 1));
  }
  return places;
}

}  // namespace bitmill
