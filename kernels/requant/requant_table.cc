#include "kernels/requant/requant_table.h"

namespace bitmill {

void RequantRef(const RequantArgs& args);
#if defined(BITMILL_X86)
void RequantAvx512(const RequantArgs& args);
void RequantAvx2(const RequantArgs& args);
#endif
#if defined(BITMILL_ARM)
void RequantNeon(const RequantArgs& args);
#endif

namespace {

constexpr RequantKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"requant_avx512", Isa::kAvx512, RequantAvx512},
    {"requant_avx2", Isa::kAvx2, RequantAvx2},
#endif
#if defined(BITMILL_ARM)
    {"requant_neon", Isa::kNeon, RequantNeon},
#endif
    {"requant_ref", Isa::kRef, RequantRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const RequantKernel* RequantKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const RequantKernel& SelectRequant(Isa allowed) {
  for (const RequantKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
