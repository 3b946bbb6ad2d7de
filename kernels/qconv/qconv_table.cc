#include "kernels/qconv/qconv_table.h"

namespace bitmill {

void QconvRef(const QconvArgs& args);
#if defined(BITMILL_X86)
void QconvAvx512Vpopcnt(const QconvArgs& args);
void QconvAvx512(const QconvArgs& args);
void QconvAvx2(const QconvArgs& args);
#endif
#if defined(BITMILL_ARM)
void QconvNeon(const QconvArgs& args);
#endif

namespace {

constexpr QconvKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"qconv_avx512vpopcnt", Isa::kAvx512Vpopcnt, QconvAvx512Vpopcnt},
    {"qconv_avx512", Isa::kAvx512, QconvAvx512},
    {"qconv_avx2", Isa::kAvx2, QconvAvx2},
#endif
#if defined(BITMILL_ARM)
    {"qconv_neon", Isa::kNeon, QconvNeon},
#endif
    {"qconv_ref", Isa::kRef, QconvRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const QconvKernel* QconvKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const QconvKernel& SelectQconv(Isa allowed) {
  for (const QconvKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
