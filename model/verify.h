// The only gate between a reader and the passes.
#pragma once

#include "absl/status/status.h"
#include "model/graph.h"

namespace bitmill {

// Checks every index, the order of nodes, single assignment, operators known, arity, types and
// shapes consistent with what the operators infer, no absurd sizes (2^31 elements a value), and
// sets nothing. The message names the node or value.
absl::Status VerifyGraph(const Graph& graph);

// Fills in types and shapes of all values in node order (batch 1) and `graph.batchable`.
absl::Status InferShapes(Graph& graph);

}  // namespace bitmill
