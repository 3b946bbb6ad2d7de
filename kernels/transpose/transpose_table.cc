#include "kernels/transpose/transpose_table.h"

namespace bitmill {

void TransposeBytesRef(const TransposeArgs& args);
void TransposeWordsRef(const TransposeArgs& args);
#if defined(BITMILL_X86)
void TransposeBytesAvx2(const TransposeArgs& args);
void TransposeWordsAvx2(const TransposeArgs& args);
#endif

namespace {

constexpr TransposeKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"transpose_avx2", Isa::kAvx2, TransposeBytesAvx2, TransposeWordsAvx2},
#endif
    {"transpose", Isa::kRef, TransposeBytesRef, TransposeWordsRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const TransposeKernel* TransposeKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const TransposeKernel& SelectTranspose(Isa allowed) {
  for (const TransposeKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
