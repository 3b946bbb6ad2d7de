// Quantizing to bits needs no float tensor where the numbers are narrower at first.
#pragma once

#include "model/graph.h"

namespace bitmill {

// int8, uint8, fp16 and bf16, whose signs are taken without conversion.
bool IsNarrowNumber(DType dtype);

// Lets each QuantizeOp to bits read narrow numbers where its float input is only a Cast of them
// (reshapes may follow): thresholds compare the same numbers. Casts that nobody
// reads any more are left for RemoveDeadNodes.
void ReadNarrowInputs(Graph& graph);

}  // namespace bitmill
