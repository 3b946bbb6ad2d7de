// Slow, obvious, always right: runs a graph node by node with the reference implementations. The
// oracle of the golden tests, and of every fast path.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph.h"

namespace bitmill {

// One row: inputs in the order of graph.inputs with the graph's (batch 1) shapes; outputs likewise.
// Unlowered graphs only.
absl::StatusOr<std::vector<Tensor>> RunReference(const Graph& graph,
                                                 absl::Span<const TensorView> inputs);

}  // namespace bitmill
