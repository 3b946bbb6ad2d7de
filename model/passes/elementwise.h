// Float operations on single elements become chains (model/lowered.h).
#pragma once

#include "model/graph.h"

namespace bitmill {

// Replaces every node that computes each element of one float tensor from that element and
// constants (one, or one a channel on axis 1) by an ElementwiseOp. A BatchNormalization is four
// steps, in the order of its definition, so that thresholds derived from it are exact.
void ChainElementwise(Graph& graph);

// Joins an ElementwiseOp with the ElementwiseOp before it when that has no other reader.
void MergeChains(Graph& graph);

// Joins the affine steps of every ElementwiseOp (affine.h). Not where a quantizer reads the value,
// directly or by way of an operator that only names it anew: what it compares stays as written.
void JoinAffineChains(Graph& graph);

}  // namespace bitmill
