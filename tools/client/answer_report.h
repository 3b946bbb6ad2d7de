// What is said about a set of answers: classes, accuracy, distance to golden outputs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/input/named_tensor.h"

namespace bitmill {

struct GoldenComparison {
  double largest_gap = 0.0;  // absolute; NaN against a number is infinite
  double atol = 0.0;
  int64_t row = 0;  // where the gap is
  int64_t rows = 0, same_class = 0;
  bool within() const { return largest_gap <= atol; }
};

// InvalidArgument when the shapes hold different numbers of elements.
absl::StatusOr<GoldenComparison> CompareWithGolden(const Tensor& output, const Tensor& golden,
                                                   int64_t rows, double atol);

struct AnswerReport {
  std::string model;
  int64_t rows = 0;
  double seconds = 0.0;  // of inference, loading and compiling not included
  std::vector<NamedTensor> outputs;
  std::vector<int64_t> labels;  // empty, or one a row
  std::optional<GoldenComparison> golden;
};

// The best `top` classes of the first output for the first `rows_shown` rows (0: all), then a
// summary.
absl::StatusOr<std::string> AnswerTable(const AnswerReport& report, int64_t top,
                                        int64_t rows_shown);

// {"model", "rows", "seconds", "outputs": [{"name", "datatype", "shape", "data"}], "classes",
// "accuracy", "golden"}.
absl::StatusOr<std::string> AnswerJson(const AnswerReport& report);

}  // namespace bitmill
