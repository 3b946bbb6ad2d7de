#include "kernels/gather/gather_table.h"

namespace bitmill {

void GatherRef(const GatherArgs& args);
#if defined(BITMILL_X86)
void GatherAvx2(const GatherArgs& args);
#endif

namespace {

constexpr GatherKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"gather_avx2", Isa::kAvx2, GatherAvx2},
#endif
    {"gather_ref", Isa::kRef, GatherRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const GatherKernel* GatherKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const GatherKernel& SelectGather(Isa allowed) {
  for (const GatherKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
