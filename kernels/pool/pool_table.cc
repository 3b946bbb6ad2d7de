#include "kernels/pool/pool_table.h"

namespace bitmill {

void PoolBitsRef(const PoolArgs& args);
void PoolCodesRef(const PoolArgs& args);
#if defined(BITMILL_X86)
void PoolBitsAvx512(const PoolArgs& args);
void PoolCodesAvx512(const PoolArgs& args);
void PoolBitsAvx2(const PoolArgs& args);
void PoolCodesAvx2(const PoolArgs& args);
#endif
#if defined(BITMILL_ARM)
void PoolBitsNeon(const PoolArgs& args);
void PoolCodesNeon(const PoolArgs& args);
#endif

namespace {

constexpr PoolKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"pool_avx512", Isa::kAvx512, PoolBitsAvx512, PoolCodesAvx512},
    {"pool_avx2", Isa::kAvx2, PoolBitsAvx2, PoolCodesAvx2},
#endif
#if defined(BITMILL_ARM)
    {"pool_neon", Isa::kNeon, PoolBitsNeon, PoolCodesNeon},
#endif
    {"pool_ref", Isa::kRef, PoolBitsRef, PoolCodesRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const PoolKernel* PoolKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const PoolKernel& SelectPool(Isa allowed) {
  for (const PoolKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
