// Reading answers as classifications.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "base/tensor.h"

namespace bitmill {

// The class of each of `rows` rows: the position of the largest value (the first one on a tie, NaN
// never wins), or the value itself where a row is a single integer. InvalidArgument when the
// tensor's elements do not divide into that many rows.
absl::StatusOr<std::vector<int64_t>> Classify(const Tensor& tensor, int64_t rows);

struct ClassScore {
  int64_t label = 0;
  double score = 0.0;
};

// The `count` largest of `values`, best first; on a tie the lower position.
std::vector<ClassScore> TopScores(const std::vector<double>& values, int64_t count);

}  // namespace bitmill
