#include "kernels/bconv/bconv_table.h"

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvRef(const BconvArgs& args);
bool BconvFinishesRef(const BconvArgs& args);
#if defined(BITMILL_X86)
void BconvAmx(const BconvArgs& args);
int64_t PreparedBconvBytesAmx(const BconvArgs& args);
void PrepareBconvAmx(const BconvArgs& args, void* prepared);
int64_t BconvScratchBytesAmx(const BconvArgs& args);
bool BconvFinishesAmx(const BconvArgs& args);
bool BconvStoresPlanesAmx(const BconvArgs& args);
void BconvAvx512Vpopcnt(const BconvArgs& args);
bool BconvFinishesAvx512Vpopcnt(const BconvArgs& args);
bool BconvStoresPlanesAvx512Vpopcnt(const BconvArgs& args);
void BconvAvx512(const BconvArgs& args);
void BconvAvx2(const BconvArgs& args);
int64_t PreparedBconvBytesAvx2(const BconvArgs& args);
void PrepareBconvAvx2(const BconvArgs& args, void* prepared);
#endif
#if defined(BITMILL_ARM)
void BconvNeon(const BconvArgs& args);
#endif

namespace {

#if defined(BITMILL_X86)
int64_t PreparedBytesAvx512(const BconvArgs& args) {
  return BconvLooksUpAvx512(args) ? PreparedBconvBytesAvx2(args) : 0;
}
#endif

// Measured with bitmill bench --suite kernels --filter sparse on ternary weights
// (docs/decisions/0009-sparse-blocks.md).
constexpr SparseForm kRefForms[] = {{8, 0.95, 0.95}};
#if defined(BITMILL_X86)
// Sparse weights run as those of avx512vpopcnt, dense ones on tiles.
constexpr SparseForm kAmxForms[] = {{8, 0.43, 0.75}, {16, 0.55, 0.95}};
constexpr SparseForm kAvx512VpopcntForms[] = {{8, 0.75, 0.75}, {16, 0.97, 0.95}};
constexpr SparseForm kAvx512Forms[] = {{8, 0.95, 0.95}};
constexpr SparseForm kAvx2Forms[] = {{32, 0.78, 0.8}, {64, 0.97, 0.88}};
#endif

constexpr BconvKernel kKernels[] = {
#if defined(BITMILL_X86)
    {.name = "bconv_amx",
     .isa = Isa::kAmx,
     .run = BconvAmx,
     .prepared_bytes = PreparedBconvBytesAmx,
     .prepare = PrepareBconvAmx,
     .scratch_bytes = BconvScratchBytesAmx,
     .finishes = BconvFinishesAmx,
     .stores_planes = BconvStoresPlanesAmx,
     .sparse = {kAmxForms, 2},
     .rival = "bconv_avx512vpopcnt"},
    {.name = "bconv_avx512vpopcnt",
     .isa = Isa::kAvx512Vpopcnt,
     .run = BconvAvx512Vpopcnt,
     .finishes = BconvFinishesAvx512Vpopcnt,
     .stores_planes = BconvStoresPlanesAvx512Vpopcnt,
     .sparse = {kAvx512VpopcntForms, 2}},
    {.name = "bconv_avx512",
     .isa = Isa::kAvx512,
     .run = BconvAvx512,
     .prepared_bytes = PreparedBytesAvx512,
     .prepare = PrepareBconvAvx2,
     .sparse = {kAvx512Forms, 1},
     .rival = "bconv_avx2"},
    {.name = "bconv_avx2",
     .isa = Isa::kAvx2,
     .run = BconvAvx2,
     .prepared_bytes = PreparedBconvBytesAvx2,
     .prepare = PrepareBconvAvx2,
     .sparse = {kAvx2Forms, 2}},
#endif
#if defined(BITMILL_ARM)
    {"bconv_neon", Isa::kNeon, BconvNeon},
#endif
    {.name = "bconv_ref",
     .isa = Isa::kRef,
     .run = BconvRef,
     .finishes = BconvFinishesRef,
     .sparse = {kRefForms, 1}},
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
  if (PreparedBconvBytes(kernel, args) > 0) kernel.prepare(args, prepared);
}

int64_t BconvScratchBytes(const BconvKernel& kernel, const BconvArgs& args) {
  return kernel.scratch_bytes != nullptr ? kernel.scratch_bytes(args) : 0;
}

bool BconvFinishes(const BconvKernel& kernel, const BconvArgs& args) {
  return kernel.finishes != nullptr && args.out_float != nullptr && kernel.finishes(args);
}

bool BconvStoresPlanes(const BconvKernel& kernel, const BconvArgs& args) {
  return kernel.stores_planes != nullptr && args.out_float != nullptr && args.finish == nullptr &&
         kernel.stores_planes(args);
}

}  // namespace bitmill
