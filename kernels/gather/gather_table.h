// The implementations of kernels/gather/gather.h, best first, the reference last.
#pragma once

#include "kernels/gather/gather.h"
#include "kernels/isa.h"

namespace bitmill {

struct GatherKernel {
  const char* name;
  Isa isa;
  GatherFn run;
};

const GatherKernel* GatherKernels(int* count);
const GatherKernel& SelectGather(Isa allowed);

}  // namespace bitmill
