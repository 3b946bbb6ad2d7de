// Whether a graph treats the rows of a batch independently.
#pragma once

#include "model/graph.h"
#include "model/type_inference.h"

namespace bitmill {

// True when dimension 0 of every graph input may be a batch (symbolic, or 1 in a tensor of rank 2
// or more), every operator carries it through as dimension 0 without mixing rows, and it arrives
// in every output. Follows values conservatively: an operator that is not known to keep rows
// apart does not. Unlowered graphs only.
bool KeepsRowsApart(const Graph& graph, const InferredTypes& inferred);

}  // namespace bitmill
