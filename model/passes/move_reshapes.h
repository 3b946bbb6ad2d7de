// Moves reshapes out of the way of fusion.
#pragma once

#include "model/graph.h"

namespace bitmill {

// A node that only reshapes (Flatten, Reshape, ...) changes places with a neighbour that treats all
// elements alike (a chain without per-channel operands, a quantizer with one row of thresholds):
//
//   behind a computation, the neighbour comes first, so that it can join that computation:
//     conv, flatten, relu, quantizer  ->  conv, relu, quantizer, flatten
//   at a graph input, the reshape comes first, so that the chain meets what reads it:
//     input, divide, flatten, quantizer  ->  input, flatten, divide, quantizer
//
// Expects ChainElementwise to have run.
void MoveReshapes(Graph& graph);

}  // namespace bitmill
