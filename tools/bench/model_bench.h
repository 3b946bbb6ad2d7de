// How fast a whole model runs, and how near to what its products could cost at best.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/roofline/roofline.h"
#include "tools/bench/bench_result.h"
#include "tools/local/precision.h"

namespace bitmill {

struct ModelBenchOptions {
  std::vector<int64_t> batches = {1, 8, 64};
  std::string isa = "auto";
  int threads = 1;
  double seconds = 1.0;  // of measuring, a batch
  int profile_repetitions = 50;
  PrecisionChoice precision;  // fast without a file: random rows
};

// Value: microseconds of a row. With one thread the median of repeated batches, in CPU time, so
// that other load hardly matters. With several there are three results for a batch size, in wall
// time of the best of many short windows taken in turn: kind "model" with one thread, "model" with
// all of them, each at a batch of its own, and "shared batch", all of them at one batch. Ceiling:
// the sum over the layers of products at the rate of the matching line of `roofline`, or of reading
// the weights, whichever is longer. The exact result is checked against the reference of the first
// row before it is timed, and with several threads against that of one, bit for bit. Errors are
// those of reading and compiling; Internal when the answers differ.
absl::StatusOr<std::vector<BenchResult>> BenchModel(const std::string& path,
                                                    const ModelBenchOptions& options,
                                                    const Roofline& roofline);

}  // namespace bitmill
