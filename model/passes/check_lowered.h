// What holds of every lowered graph.
#pragma once

#include "absl/status/status.h"
#include "model/graph.h"

namespace bitmill {

// Internal when the graph is not what lowering promises, naming the node: every input has been made
// before it is read, in the representation that its reader expects; every lowered output has its
// code set; shapes, weights and per-channel lists agree; graph inputs and outputs are plain
// tensors.
absl::Status CheckLowered(const Graph& graph);

}  // namespace bitmill
