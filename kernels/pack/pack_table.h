// The implementations of kernels/pack/pack.h, best first, the reference last.
#pragma once

#include "kernels/isa.h"
#include "kernels/pack/pack.h"

namespace bitmill {

struct PackKernel {
  const char* name;
  Isa isa;
  SignPackFn sign;
  SignPackNarrowFn sign_narrow;
  QuantPackFn quant;
};

const PackKernel* PackKernels(int* count);
const PackKernel& SelectPack(Isa allowed);

}  // namespace bitmill
