// The implementations of kernels/transpose/transpose.h, best first, the reference last.
#pragma once

#include "kernels/isa.h"
#include "kernels/transpose/transpose.h"

namespace bitmill {

struct TransposeKernel {
  const char* name;
  Isa isa;
  TransposeFn bytes;  // elements of 1 byte
  TransposeFn words;  // elements of 4 bytes
};

const TransposeKernel* TransposeKernels(int* count);
const TransposeKernel& SelectTranspose(Isa allowed);

}  // namespace bitmill
