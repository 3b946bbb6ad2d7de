// How fast a whole model runs, and how near to what its products could cost at best.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/plan_cache.h"
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
  double tune_seconds = 0.0;  // of measuring each layer's kernels first
  // Where the compiled plan is kept and taken from; the time to load with and without it is a
  // result then. Not with precision fast.
  PlanCacheOptions plan_cache = ParsePlanCache("off");
};

// "fmnist_tfc_w1a1" of ".../fmnist_tfc_w1a1/1/model.onnx", else the file's name.
std::string ModelNameOfFile(const std::string& path);

// What `choice` calibrates with: its file, or random rows when it is fast without one.
absl::StatusOr<ModelInputs> BenchSamples(const Signature& signature, const PrecisionChoice& choice);

// Value: microseconds of a row. With one thread the median of repeated batches, in CPU time, so
// that other load hardly matters. With several there are three results for a batch size, medians of
// windows of wall time taken in turn: kind "model" with one thread, "model" with
// all of them, each at a batch of its own, and "shared batch", all of them at one batch. Ceiling:
// the sum over the layers of products at the rate of the matching line of `roofline`, or of reading
// the weights, whichever is longer. The exact result is checked against the reference of the first
// row before it is timed, and with several threads against that of one, bit for bit. With a
// plan cache two results come first, in ms of wall time with the files in the page cache: kinds
// "load, compiled" and "load, from plan". Errors are those of reading and compiling; Internal when
// the answers differ; FailedPrecondition when no plan can be kept.
absl::StatusOr<std::vector<BenchResult>> BenchModel(const std::string& path,
                                                    const ModelBenchOptions& options,
                                                    const Roofline& roofline);

}  // namespace bitmill
