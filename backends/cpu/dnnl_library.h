// oneDNN as a whole: its instruction set and its version. Only this and dnnl_layer include it.
//
// oneDNN picks its instruction set once a process: the first float layer limits it to the
// instruction set of its model, later ones can no longer change it.
#pragma once

#include <string>

#include "kernels/isa.h"

namespace bitmill {

void LimitDnnlIsa(Isa isa);

// Whether oneDNN multiplies in bfloat16 here, when it is limited to `isa` (see above).
bool DnnlHasBf16(Isa isa);

// "3.1.0 <commit>": of the library that runs.
std::string DnnlVersion();

}  // namespace bitmill
