// Graph -> Graph rewrites, one a file. Each leaves a graph that computes the same function: exactly
// for integer networks, within float rounding otherwise. Lower() runs them in order.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/graph.h"

namespace bitmill {

// Evaluates nodes whose inputs are all constant (weight quantizers included) and drops them;
// removes Identity, Dropout and Cast-to-same; removes values and nodes that nobody needs.
absl::Status FoldConstants(Graph& graph);

// The whole pipeline of lowering; the result holds lowered operations and, where nothing better
// applies, original nodes. Never fails for a graph that VerifyGraph accepts, except
// ResourceExhausted / Unimplemented with the node named.
absl::StatusOr<Graph> Lower(Graph graph);

}  // namespace bitmill
