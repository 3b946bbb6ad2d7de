#include "kernels/bdepth/bdepth_table.h"

namespace bitmill {

void BdepthRef(const BdepthArgs& args);
#if defined(BITMILL_X86)
void BdepthAvx512(const BdepthArgs& args);
void BdepthAvx2(const BdepthArgs& args);
#endif
#if defined(BITMILL_ARM)
void BdepthNeon(const BdepthArgs& args);
#endif

namespace {

constexpr BdepthKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"bdepth_avx512", Isa::kAvx512, BdepthAvx512},
    {"bdepth_avx2", Isa::kAvx2, BdepthAvx2},
#endif
#if defined(BITMILL_ARM)
    {"bdepth_neon", Isa::kNeon, BdepthNeon},
#endif
    {"bdepth_ref", Isa::kRef, BdepthRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const BdepthKernel* BdepthKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const BdepthKernel& SelectBdepth(Isa allowed) {
  for (const BdepthKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
