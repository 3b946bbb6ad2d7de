#include "kernels/fdense/fdense_table.h"

#include <algorithm>

namespace bitmill {

void FdenseRef(const FdenseArgs& args);
#if defined(BITMILL_X86)
void FdenseAvx2(const FdenseArgs& args);
void FdenseAvx512(const FdenseArgs& args);
#endif

namespace {

constexpr FdenseKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"fdense_avx512", Isa::kAvx512, FdenseAvx512},
    {"fdense_avx2", Isa::kAvx2, FdenseAvx2},
#endif
    // On 64-bit Arm the compiler makes NEON of it.
    {"fdense", Isa::kRef, FdenseRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const FdenseKernel* FdenseKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const FdenseKernel& SelectFdense(Isa allowed) {
  for (const FdenseKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

int64_t PackedFdenseFloats(int64_t channels, int64_t elements) {
  return (channels + kFdenseBlock - 1) / kFdenseBlock * kFdenseBlock * elements;
}

void PackFdenseWeights(const float* weights, int64_t channels, int64_t elements, float* packed) {
  std::fill_n(packed, PackedFdenseFloats(channels, elements), 0.0F);
  if (elements == 0) return;
  for (int64_t o = 0; o < channels; ++o) {
    float* const lane = packed + o / kFdenseBlock * kFdenseBlock * elements + o % kFdenseBlock;
    for (int64_t e = 0; e < elements; ++e) lane[e * kFdenseBlock] = weights[o * elements + e];
  }
}

}  // namespace bitmill
