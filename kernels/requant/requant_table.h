// The implementations of kernels/requant/requant.h, best first, the reference last.
#pragma once

#include "kernels/isa.h"
#include "kernels/requant/requant.h"

namespace bitmill {

struct RequantKernel {
  const char* name;
  Isa isa;
  RequantFn run;
};

const RequantKernel* RequantKernels(int* count);
const RequantKernel& SelectRequant(Isa allowed);

}  // namespace bitmill
