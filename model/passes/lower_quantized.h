// The heart of lowering: quantizers become QuantizeOp, and linear layers and poolings of quantized
// values with low-bit weights become LowBitConvOp and LowBitMaxPoolOp.
#pragma once

#include "model/graph.h"

namespace bitmill {

// One walk in execution order. For each float value it knows whether the value is nothing but
// codes, value = scale * (code - zero_point), and where those codes are; such knowledge starts at
// quantizers and is carried through reshapes, poolings, scalar factors and the like. Every code is
// also dequantized into the float value it stands for, so that any reader that does not lower
// still finds its input; RemoveDeadNodes drops what nobody needs.
//
// Expects ChainElementwise and MergeChains to have run. Leaves LowBitConvOp with a float epilogue.
void LowerQuantized(Graph& graph);

}  // namespace bitmill
