#include "kernels/bconv/bconv_table.h"

namespace bitmill {

void BconvRef(const BconvArgs& args);
#if defined(BITMILL_X86)
void BconvAvx512Vpopcnt(const BconvArgs& args);
void BconvAvx512(const BconvArgs& args);
void BconvAvx2(const BconvArgs& args);
#endif
#if defined(BITMILL_ARM)
void BconvNeon(const BconvArgs& args);
#endif

namespace {

constexpr BconvKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"bconv_avx512vpopcnt", Isa::kAvx512Vpopcnt, BconvAvx512Vpopcnt},
    {"bconv_avx512", Isa::kAvx512, BconvAvx512},
    {"bconv_avx2", Isa::kAvx2, BconvAvx2},
#endif
#if defined(BITMILL_ARM)
    {"bconv_neon", Isa::kNeon, BconvNeon},
#endif
    {"bconv_ref", Isa::kRef, BconvRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const BconvKernel* BconvKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const BconvKernel& SelectBconv(Isa allowed) {
  for (const BconvKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
