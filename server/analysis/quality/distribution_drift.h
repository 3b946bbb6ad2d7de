// Whether rows still look like those of a reference: a histogram a feature (drift_scores.h) over a
// sliding window, and how many values are no number, out of the reference's range, or outliers. A
// row may also have a category (the predicted class), with a histogram of its own.
//
// The reference is installed, or recorded from the first rows. Adding a row of 64 features costs
// about a microsecond; the window slides in eighths of itself.
//
// Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "base/clock.h"
#include "server/analysis/quality/drift_scores.h"

namespace bitmill {

inline constexpr int64_t kLeastReferenceRows = 500;
inline constexpr int64_t kLeastWindowRows = 1000;  // fewer say nothing: noise would pass 0.1

// Rows to compare with. Immutable once made.
class RowsReference {
 public:
  // `values`: [rows][features]. `categories`: how often each occurs; may be empty.
  RowsReference(absl::Span<const float> values, size_t features, std::vector<int64_t> categories);

  size_t features() const { return features_.size(); }
  const FeatureReference& feature(size_t i) const { return features_[i]; }
  size_t first_bin(size_t i) const { return first_bins_[i]; }
  size_t bins() const { return bins_; }  // of all features
  absl::Span<const int64_t> categories() const { return categories_; }
  int64_t rows() const { return rows_; }

 private:
  std::vector<FeatureReference> features_;
  std::vector<size_t> first_bins_;  // of each feature, in a table of all
  size_t bins_ = 0;
  int64_t rows_ = 0;
  std::vector<int64_t> categories_;
};

struct DriftScores {
  int64_t rows = 0;  // in the window
  // Of the worst feature; -1: too few rows yet.
  double psi = -1, ks = -1;
  int worst_feature = -1;    // by PSI
  double category_psi = -1;  // -1 also without categories
  // Shares of the window's values.
  double not_a_number = 0, out_of_range = 0, outliers = 0;
};

// Counted since the start, for counters.
struct DriftTotals {
  int64_t values = 0, not_a_number = 0, out_of_range = 0;
};

class DistributionDrift {
 public:
  struct Limits {
    int64_t reference_rows = 2000;
    int64_t window_rows = 5000;
    int64_t window_ns = int64_t{600} * 1'000'000'000;
  };
  // `categories`: how many there are; 0: none.
  DistributionDrift(size_t features, size_t categories, const Limits& limits);

  // `values`: one a feature. `category`: outside 0 .. categories - 1 is not counted.
  void Add(MonotonicNanos now, absl::Span<const float> values, int64_t category);

  // Once enough rows were recorded, gives them away, to make a reference of outside of any lock;
  // rows that come until it is installed are not counted.
  struct Recording {
    std::vector<float> values;
    std::vector<int64_t> categories;
  };
  std::optional<Recording> TakeRecording();
  void Install(std::shared_ptr<const RowsReference> reference);
  bool has_reference() const { return reference_ != nullptr; }

  DriftScores Scores(MonotonicNanos now) const;
  const DriftTotals& totals() const { return totals_; }

 private:
  static constexpr size_t kSlices = 8;
  struct Slice {
    MonotonicNanos begin_ns = 0, end_ns = 0;
    int64_t rows = 0;
    int64_t values = 0, not_a_number = 0, out_of_range = 0, outliers = 0;
    std::vector<int64_t> bins, categories;
  };

  void Record(absl::Span<const float> values, int64_t category);
  Slice& NewestSlice(MonotonicNanos now);

  const size_t feature_count_, category_count_;
  const Limits limits_;
  Recording recording_;
  int64_t recorded_rows_ = 0;
  bool recorded_ = false;  // given away
  std::shared_ptr<const RowsReference> reference_;
  std::array<Slice, kSlices> slices_;
  size_t newest_ = 0;
  DriftTotals totals_;
};

// `count` of `total` places, spread evenly, one in each of `count` equal stretches but not at the
// same place of each, so that no column of an image is met every time. All of them when there are
// no more. Ascending.
std::vector<int64_t> SpreadEvenly(int64_t total, int64_t count);

}  // namespace bitmill
