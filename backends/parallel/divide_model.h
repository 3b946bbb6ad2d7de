// A lowered model divided as asked for, and what is kept of that in a plan file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/parallel/graph_parts.h"
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

// What was found out about dividing a model, and need not be again.
struct KnownDivision {
  std::vector<NodeRange> ranges;                    // of a pipeline
  std::vector<std::unique_ptr<PackedPart>> packed;  // by part, as DividedModel::prepared
};

struct DividedModel {
  std::unique_ptr<Executable> executable;
  std::vector<NodeRange> ranges;  // of a pipeline
  // On the CPU, also of parts on devices, in an order that mode, count and ranges decide. Rows that
  // are divided have one for all parts.
  std::vector<std::unique_ptr<PreparedModel>> prepared;
};

// The whole model, on the first backend. `known` (null: nothing is) as for DivideModel.
absl::StatusOr<DividedModel> CompileWhole(const DivideParts& parts,
                                          const KnownDivision* known = nullptr);

// In `mode` (kData, kTensor or kPipeline), in as many of `count` parts as there can be.
// FailedPrecondition when the model cannot be divided like that, and says why. With what is `known`
// of the same model, mode and count, cuts are not looked for and constants not packed again;
// DataLoss when that is not of this model.
absl::StatusOr<DividedModel> DivideModel(const DivideParts& parts, ParallelMode mode, int count,
                                         const KnownDivision* known = nullptr);

}  // namespace bitmill
