#include "tools/client/classes.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tools/input/elements.h"

namespace bitmill {
namespace {

bool IsInteger(DType dtype) {
  return dtype != DType::kFloat16 && dtype != DType::kBFloat16 && dtype != DType::kFloat32 &&
         dtype != DType::kFloat64;
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> Classify(const Tensor& tensor, int64_t rows) {
  const int64_t elements = tensor.elements();
  if (rows <= 0 || elements == 0 || elements % rows != 0) {
    return absl::InvalidArgumentError(absl::StrCat("an output of shape ",
                                                   ShapeToString(tensor.shape()),
                                                   " does not classify ", rows, " rows"));
  }
  const int64_t row_elements = elements / rows;
  std::vector<int64_t> classes;
  for (int64_t row = 0; row < rows; ++row) {
    if (row_elements == 1 && IsInteger(tensor.dtype())) {
      classes.push_back(static_cast<int64_t>(ElementAsDouble(tensor, row)));
      continue;
    }
    int64_t best = 0;
    double best_value = -HUGE_VAL;
    for (int64_t i = 0; i < row_elements; ++i) {
      const double value = ElementAsDouble(tensor, row * row_elements + i);
      if (value > best_value) {
        best = i;
        best_value = value;
      }
    }
    classes.push_back(best);
  }
  return classes;
}

std::vector<ClassScore> TopScores(const std::vector<double>& values, int64_t count) {
  std::vector<ClassScore> scores;
  scores.reserve(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    scores.push_back({static_cast<int64_t>(i), values[i]});
  }
  std::stable_sort(scores.begin(), scores.end(), [](const ClassScore& a, const ClassScore& b) {
    return !std::isnan(a.score) && (std::isnan(b.score) || a.score > b.score);
  });
  scores.resize(std::min(scores.size(), static_cast<size_t>(std::max<int64_t>(0, count))));
  return scores;
}

}  // namespace bitmill
