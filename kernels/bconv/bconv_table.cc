#include "kernels/bconv/bconv_table.h"

namespace bitmill {

void BconvRef(const BconvArgs& args);
#if defined(BITMILL_X86)
void BconvAmx(const BconvArgs& args);
int64_t PreparedBconvBytesAmx(const BconvArgs& args);
void PrepareBconvAmx(const BconvArgs& args, void* prepared);
int64_t BconvScratchBytesAmx(const BconvArgs& args);
void BconvAvx512Vpopcnt(const BconvArgs& args);
void BconvAvx512(const BconvArgs& args);
void BconvAvx2(const BconvArgs& args);
int64_t PreparedBconvBytesAvx2(const BconvArgs& args);
void PrepareBconvAvx2(const BconvArgs& args, void* prepared);
#endif
#if defined(BITMILL_ARM)
void BconvNeon(const BconvArgs& args);
#endif

namespace {

constexpr BconvKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"bconv_amx", Isa::kAmx, BconvAmx, PreparedBconvBytesAmx, PrepareBconvAmx,
     BconvScratchBytesAmx},
    {"bconv_avx512vpopcnt", Isa::kAvx512Vpopcnt, BconvAvx512Vpopcnt},
    {"bconv_avx512", Isa::kAvx512, BconvAvx512},
    {"bconv_avx2", Isa::kAvx2, BconvAvx2, PreparedBconvBytesAvx2, PrepareBconvAvx2},
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

int64_t PreparedBconvBytes(const BconvKernel& kernel, const BconvArgs& args) {
  return kernel.prepared_bytes != nullptr ? kernel.prepared_bytes(args) : 0;
}

void PrepareBconv(const BconvKernel& kernel, const BconvArgs& args, void* prepared) {
  if (kernel.prepare != nullptr) kernel.prepare(args, prepared);
}

int64_t BconvScratchBytes(const BconvKernel& kernel, const BconvArgs& args) {
  return kernel.scratch_bytes != nullptr ? kernel.scratch_bytes(args) : 0;
}

}  // namespace bitmill
