#include "kernels/pack/pack_table.h"

namespace bitmill {

void SignPackRef(const SignPackArgs& args);
void SignPackNarrowRef(const SignPackNarrowArgs& args);
void QuantPackRef(const QuantPackArgs& args);
#if defined(BITMILL_X86)
void SignPackAvx512(const SignPackArgs& args);
void SignPackNarrowAvx512(const SignPackNarrowArgs& args);
void QuantPackAvx512(const QuantPackArgs& args);
void SignPackAvx2(const SignPackArgs& args);
void SignPackNarrowAvx2(const SignPackNarrowArgs& args);
void QuantPackAvx2(const QuantPackArgs& args);
#endif
#if defined(BITMILL_ARM)
void SignPackNeon(const SignPackArgs& args);
void SignPackNarrowNeon(const SignPackNarrowArgs& args);
void QuantPackNeon(const QuantPackArgs& args);
#endif

namespace {

constexpr PackKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"pack_avx512", Isa::kAvx512, SignPackAvx512, SignPackNarrowAvx512, QuantPackAvx512},
    {"pack_avx2", Isa::kAvx2, SignPackAvx2, SignPackNarrowAvx2, QuantPackAvx2},
#endif
#if defined(BITMILL_ARM)
    {"pack_neon", Isa::kNeon, SignPackNeon, SignPackNarrowNeon, QuantPackNeon},
#endif
    {"pack_ref", Isa::kRef, SignPackRef, SignPackNarrowRef, QuantPackRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const PackKernel* PackKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const PackKernel& SelectPack(Isa allowed) {
  for (const PackKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
