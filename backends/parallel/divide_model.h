// A lowered model divided as asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/parallel/parallel_options.h"
#include "base/clock.h"
#include "base/fork_join.h"
#include "model/graph.h"

namespace bitmill {

// What dividing a model needs; everything is borrowed.
struct DivideParts {
  const Graph& lowered;
  const Signature& signature;  // of the whole model
  const Backend& cpu;
  // Of part 0, 1 .., again from the start where there are more parts: the CPU's, or those of
  // devices.
  const std::vector<const Backend*>& backends;
  const CompileOptions& options;
  ExecutionLimits limits;
  ForkJoin* team = nullptr;
  int64_t measure_ns = 0;
  const Clock& clock;
};

// The whole model, on the first backend.
absl::StatusOr<std::unique_ptr<Executable>> CompileWhole(const DivideParts& parts);

// In `mode` (kData, kTensor or kPipeline), in as many of `count` parts as there can be.
// FailedPrecondition when the model cannot be divided like that, and says why.
absl::StatusOr<std::unique_ptr<Executable>> DivideModel(const DivideParts& parts, ParallelMode mode,
                                                        int count);

}  // namespace bitmill
