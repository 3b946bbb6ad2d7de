// The implementations of kernels/pool/pool.h, best first, the reference last.
#pragma once

#include "kernels/isa.h"
#include "kernels/pool/pool.h"

namespace bitmill {

struct PoolKernel {
  const char* name;
  Isa isa;
  PoolFn bits;
  PoolFn codes;
};

const PoolKernel* PoolKernels(int* count);
const PoolKernel& SelectPool(Isa allowed);

}  // namespace bitmill
