// Where the time of a compiled model goes, step by step; for `bitmill bench --suite models`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "kernels/roofline/roofline.h"

namespace bitmill {

struct StepCost {
  std::string name, kernel;
  double micros = 0.0;               // of a whole batch of `rows`, median of the repetitions
  double predicted = 0.0;            // of a row, as the plan has it: the cost model's, or tuned
  int64_t macs = 0;                  // of a row
  int64_t bytes = 0;                 // weights, and what it writes for a row
  Ceiling ceiling = Ceiling::kFp32;  // what bounds its products
};

// Runs the executable `repetitions` times on a batch of `rows` made-up rows, after a few runs to
// warm up, and times each step on the calling thread. InvalidArgument when the executable is not of
// the CPU backend or `rows` is outside 1 .. max_rows().
absl::StatusOr<std::vector<StepCost>> ProfileSteps(const Executable& executable, int64_t rows,
                                                   int repetitions);

}  // namespace bitmill
