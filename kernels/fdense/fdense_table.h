// The implementations of kernels/fdense/fdense.h, best first, the plain one last.
#pragma once

#include "kernels/fdense/fdense.h"
#include "kernels/isa.h"

namespace bitmill {

struct FdenseKernel {
  const char* name;
  Isa isa;
  FdenseFn run;
};

const FdenseKernel* FdenseKernels(int* count);
const FdenseKernel& SelectFdense(Isa allowed);

// weights[channels][elements] into the layout above.
int64_t PackedFdenseFloats(int64_t channels, int64_t elements);
void PackFdenseWeights(const float* weights, int64_t channels, int64_t elements, float* packed);

}  // namespace bitmill
