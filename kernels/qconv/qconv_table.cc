#include "kernels/qconv/qconv_table.h"

#if defined(BITMILL_ARM)
#include <sys/auxv.h>
#endif

#include "kernels/qconv/qconv_2of4.h"
#include "kernels/qconv/qconv_lookup.h"

namespace bitmill {

void QconvRef(const QconvArgs& args);
#if defined(BITMILL_X86)
void QconvAmx(const QconvArgs& args);
int64_t PreparedQconvBytesAmx(const QconvArgs& args);
void PrepareQconvAmx(const QconvArgs& args, void* prepared);
int64_t QconvScratchBytesAmx(const QconvArgs& args);
void QconvAvx512Vpopcnt(const QconvArgs& args);
void QconvAvx512(const QconvArgs& args);
void QconvAvxVnni(const QconvArgs& args);
void QconvAvx2(const QconvArgs& args);
#endif
#if defined(BITMILL_ARM)
void QconvNeonDot(const QconvArgs& args);
void QconvNeon(const QconvArgs& args);
#endif

namespace {

#if defined(BITMILL_X86)
int64_t PreparedBytesAvx512Vpopcnt(const QconvArgs& args) {
  return QconvTakesTables(args) ? QconvLookupBytesAvx512Vpopcnt(args)
                                : Qconv2of4BytesAvx512Vpopcnt(args);
}

void PrepareAvx512Vpopcnt(const QconvArgs& args, void* prepared) {
  if (QconvTakesTables(args)) {
    PrepareQconvLookupAvx512Vpopcnt(args, prepared);
  } else {
    PrepareQconv2of4(args, static_cast<uint8_t*>(prepared));
  }
}
#endif

// Measured with bitmill bench --suite kernels --filter sparse on ternary weights
// (docs/decisions/0009-sparse-blocks.md).
constexpr SparseForm kRefForms[] = {{16, 0.95, 0.95}};
#if defined(BITMILL_X86)
// Sparse weights are left to the kernel without tiles; dense ones of 9
// pixels and more are three to four times as fast on tiles.
constexpr SparseForm kAmxForms[] = {{16, 0.17, 0.08}, {32, 0.25, 0.12}, {64, 0.27, 0.13}};
constexpr SparseForm kAvx512VpopcntForms[] = {{16, 0.62, 0.5}, {32, 0.88, 0.64}, {64, 0.95, 0.72}};
constexpr SparseForm kAvx512Forms[] = {{16, 0.92, 0.72}, {32, 0.92, 0.78}, {64, 0.92, 0.78}};
constexpr SparseForm kAvxVnniForms[] = {{16, 0.96, 0.75}, {32, 0.96, 0.78}, {64, 0.96, 0.8}};
constexpr SparseForm kAvx2Forms[] = {{16, 0.96, 0.75}, {32, 0.96, 0.78}, {64, 0.96, 0.8}};
#endif

constexpr QconvKernel kKernels[] = {
#if defined(BITMILL_X86)
    {"qconv_amx",
     Isa::kAmx,
     QconvAmx,
     {kAmxForms, 3},
     PreparedQconvBytesAmx,
     PrepareQconvAmx,
     QconvScratchBytesAmx,
     16,
     false,
     "qconv_avx512vpopcnt"},
    {"qconv_avx512vpopcnt",
     Isa::kAvx512Vpopcnt,
     QconvAvx512Vpopcnt,
     {kAvx512VpopcntForms, 3},
     PreparedBytesAvx512Vpopcnt,
     PrepareAvx512Vpopcnt,
     nullptr,
     1,
     true},
    {"qconv_avx512", Isa::kAvx512, QconvAvx512, {kAvx512Forms, 3}},
    {"qconv_avxvnni", Isa::kAvxVnni, QconvAvxVnni, {kAvxVnniForms, 3}},
    {"qconv_avx2",
     Isa::kAvx2,
     QconvAvx2,
     {kAvx2Forms, 3},
     QconvLookupBytesAvx2,
     PrepareQconvLookupAvx2},
#endif
#if defined(BITMILL_ARM)
    {"qconv_neondot", Isa::kNeon, QconvNeonDot},  // first: see FirstKernel
    {"qconv_neon", Isa::kNeon, QconvNeon},
#endif
    {"qconv_ref", Isa::kRef, QconvRef, {kRefForms, 1}},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

// Of those that this machine may have: 64-bit Arm has the dot product since Armv8.2 only.
int FirstKernel() {
#if defined(BITMILL_ARM)
  static const bool dot = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return dot ? 0 : 1;
#else
  return 0;
#endif
}

}  // namespace

const QconvKernel* QconvKernels(int* count) {
  *count = kCount - FirstKernel();
  return kKernels + FirstKernel();
}

const QconvKernel& SelectQconv(Isa allowed) {
  for (int i = FirstKernel(); i < kCount; ++i) {
    if (IsaAllows(allowed, kKernels[i].isa)) return kKernels[i];
  }
  return kKernels[kCount - 1];
}

int64_t PreparedQconvBytes(const QconvKernel& kernel, const QconvArgs& args) {
  if (args.sparse != nullptr || kernel.prepared_bytes == nullptr) return 0;
  return kernel.prepared_bytes(args);
}

void PrepareQconv(const QconvKernel& kernel, const QconvArgs& args, void* prepared) {
  if (PreparedQconvBytes(kernel, args) > 0) kernel.prepare(args, prepared);
}

int64_t QconvScratchBytes(const QconvKernel& kernel, const QconvArgs& args) {
  return kernel.scratch_bytes != nullptr ? kernel.scratch_bytes(args) : 0;
}

}  // namespace bitmill
