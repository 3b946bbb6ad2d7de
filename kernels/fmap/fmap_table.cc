#include "kernels/fmap/fmap_table.h"

namespace bitmill {

void FmapRef(const FmapArgs& args);
void FmapPoolRef(const FmapPoolArgs& args);
#if defined(BITMILL_X86)
void FmapAvx512(const FmapArgs& args);
void FmapPoolAvx512(const FmapPoolArgs& args);
void FmapAvx2(const FmapArgs& args);
void FmapPoolAvx2(const FmapPoolArgs& args);
#endif

namespace {

constexpr FmapKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"fmap_avx512", Isa::kAvx512, FmapAvx512, FmapPoolAvx512},
    {"fmap_avx2", Isa::kAvx2, FmapAvx2, FmapPoolAvx2},
#endif
    // On 64-bit Arm the compiler makes NEON of the reference.
    {"fmap", Isa::kRef, FmapRef, FmapPoolRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const FmapKernel* FmapKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const FmapKernel& SelectFmap(Isa allowed) {
  for (const FmapKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
