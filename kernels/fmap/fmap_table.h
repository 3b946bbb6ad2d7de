// The implementations of kernels/fmap/fmap.h, best first, the reference last.
#pragma once

#include "kernels/fmap/fmap.h"
#include "kernels/isa.h"

namespace bitmill {

struct FmapKernel {
  const char* name;
  Isa isa;
  FmapFn run;
  FmapPoolFn pool;
};

const FmapKernel* FmapKernels(int* count);
const FmapKernel& SelectFmap(Isa allowed);

}  // namespace bitmill
