// Which way of dividing a model is worth it, and why: what parallel mode "auto" decides from what
// it measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "backends/parallel/parallel_options.h"

namespace bitmill {

// How many times as fast the divided model was as the whole one.
struct TriedDivision {
  ParallelMode mode = ParallelMode::kOff;
  int parts = 0;
  double gain = 1;          // of the largest batch
  double one_row_gain = 1;  // of one row
};

// Less than the first is noise; and one row, which is what an idle server gets, must not pay for
// it.
inline constexpr double kLeastGain = 1.1, kLeastGainOfOneRow = 0.95;

// The index of the one that gains most with the largest batch among those that keep both bounds;
// nothing: none does. Of equal ones the first.
std::optional<size_t> BestDivision(absl::Span<const TriedDivision> tried);

// "is not divided: asked for are 32 rows at least 1.10 times as fast as whole, and one row at least
// 0.95 times; measured data:2 1.31 times, one row 0.82 times (too little); ..".
std::string DescribeTried(absl::Span<const TriedDivision> tried, int64_t rows);

}  // namespace bitmill
