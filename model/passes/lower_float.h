// What stays in floating point.
#pragma once

#include "model/graph.h"

namespace bitmill {

// Conv, MatMul and Gemm with constant weights become FloatConvOp and FloatDenseOp. A Pad with zeros
// before a convolution joins it; affine steps (batch normalization, bias, input scaling) before and
// behind are folded into weights and bias in double precision; what remains of the chain behind is
// fused.
void LowerFloat(Graph& graph);

}  // namespace bitmill
