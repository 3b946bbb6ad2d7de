// The order in which a plan computes what may be computed in several orders.
#pragma once

#include "model/graph.h"

namespace bitmill {

// Puts each convolution of bits whose only reader is a sum right in front of that sum, behind what
// the other summand takes: its kernel can then add as it stores (line_step.h).
void ComputeBeforeSums(Graph& graph);

}  // namespace bitmill
