// From a lowered graph to a model in stages (staged_executable.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/parallel/graph_parts.h"
#include "backends/parallel/staged_executable.h"

namespace bitmill {

// Compiles a part for stage `stage`, which is computed by as many parts as `parts` at a time, for
// batches of up to `max_rows` rows.
struct PartRequest {
  size_t stage = 0, part = 0, parts = 1;
  int64_t max_rows = 1;
};
using CompilePart = std::function<absl::StatusOr<std::unique_ptr<Executable>>(
    Graph graph, const PartRequest& request)>;

// The signature and title are left to the caller; errors are those of compiling, with the stage.
//
// The stages of a pipeline are `ranges`, which cover the graph, at most kMostParts of them.
absl::StatusOr<StagedModel> BuildPipeline(const DividedGraph& whole,
                                          absl::Span<const NodeRange> ranges, int64_t max_rows,
                                          const CompilePart& compile);

// A stage for each of `layers`, ascending nodes that can be split, in up to `parts` slices, and one
// for what lies between two of them.
absl::StatusOr<StagedModel> BuildTensor(const DividedGraph& whole, absl::Span<const size_t> layers,
                                        int parts, int64_t max_rows, const CompilePart& compile);

}  // namespace bitmill
