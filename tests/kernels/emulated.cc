#include "tests/kernels/emulated.h"

#include "kernels/qconv/qconv_lookup.h"

namespace bitmill {

#if defined(BITMILL_EMULATED_AVX512)
// The names that tests/kernels/CMakeLists.txt gives to the second build.
void BconvAvx512Emulated(const BconvArgs& args);
void BconvAvx512VpopcntEmulated(const BconvArgs& args);
bool BconvFinishesAvx512VpopcntEmulated(const BconvArgs& args);
void BdepthAvx512Emulated(const BdepthArgs& args);
void SignPackAvx512Emulated(const SignPackArgs& args);
void SignPackNarrowAvx512Emulated(const SignPackNarrowArgs& args);
void QuantPackAvx512Emulated(const QuantPackArgs& args);
void PoolBitsAvx512Emulated(const PoolArgs& args);
void PoolCodesAvx512Emulated(const PoolArgs& args);
void BconvAmxEmulated(const BconvArgs& args);
int64_t PreparedBconvBytesAmxEmulated(const BconvArgs& args);
void PrepareBconvAmxEmulated(const BconvArgs& args, void* prepared);
int64_t BconvScratchBytesAmxEmulated(const BconvArgs& args);
bool BconvFinishesAmxEmulated(const BconvArgs& args);
bool BconvStoresPlanesAmxEmulated(const BconvArgs& args);
void QconvAmxEmulated(const QconvArgs& args);
int64_t PreparedQconvBytesAmxEmulated(const QconvArgs& args);
void PrepareQconvAmxEmulated(const QconvArgs& args, void* prepared);
int64_t QconvScratchBytesAmxEmulated(const QconvArgs& args);
void QconvAvxVnniEmulated(const QconvArgs& args);
void QconvAvx512Emulated(const QconvArgs& args);
void QconvAvx512VpopcntEmulated(const QconvArgs& args);
void RequantAvx512Emulated(const RequantArgs& args);

namespace test {
namespace {

// Tells that a kernel takes sparse weights.
constexpr SparseForm kForm = {8, 1.0, 1.0};
constexpr SparseForms kAnyForm = {&kForm, 1};

// `kernels` where this machine has AVX2, which the emulation is built for.
template <typename Kernel>
std::vector<Kernel> IfRunnable(const std::vector<Kernel>& kernels) {
  return IsaAllows(BestIsa(), Isa::kAvx2) ? kernels : std::vector<Kernel>{};
}

}  // namespace

std::vector<BconvKernel> EmulatedBconvKernels() {
  return IfRunnable<BconvKernel>({{.name = "bconv_amx_emulated",
                                   .isa = Isa::kAmx,
                                   .run = BconvAmxEmulated,
                                   .prepared_bytes = PreparedBconvBytesAmxEmulated,
                                   .prepare = PrepareBconvAmxEmulated,
                                   .scratch_bytes = BconvScratchBytesAmxEmulated,
                                   .finishes = BconvFinishesAmxEmulated,
                                   .stores_planes = BconvStoresPlanesAmxEmulated,
                                   .sparse = kAnyForm},
                                  {.name = "bconv_avx512vpopcnt_emulated",
                                   .isa = Isa::kAvx512Vpopcnt,
                                   .run = BconvAvx512VpopcntEmulated,
                                   .finishes = BconvFinishesAvx512VpopcntEmulated,
                                   .sparse = kAnyForm},
                                  {.name = "bconv_avx512_emulated",
                                   .isa = Isa::kAvx512,
                                   .run = BconvAvx512Emulated,
                                   .sparse = kAnyForm}});
}

std::vector<BdepthKernel> EmulatedBdepthKernels() {
  return IfRunnable<BdepthKernel>({{"bdepth_avx512_emulated", Isa::kAvx512, BdepthAvx512Emulated}});
}

std::vector<PackKernel> EmulatedPackKernels() {
  return IfRunnable<PackKernel>({{"pack_avx512_emulated", Isa::kAvx512, SignPackAvx512Emulated,
                                  SignPackNarrowAvx512Emulated, QuantPackAvx512Emulated}});
}

std::vector<PoolKernel> EmulatedPoolKernels() {
  return IfRunnable<PoolKernel>(
      {{"pool_avx512_emulated", Isa::kAvx512, PoolBitsAvx512Emulated, PoolCodesAvx512Emulated}});
}

std::vector<QconvKernel> EmulatedQconvKernels() {
  return IfRunnable<QconvKernel>(
      {{"qconv_amx_emulated", Isa::kAmx, QconvAmxEmulated, kAnyForm, PreparedQconvBytesAmxEmulated,
        PrepareQconvAmxEmulated, QconvScratchBytesAmxEmulated},
       {"qconv_avx512vpopcnt_emulated", Isa::kAvx512Vpopcnt, QconvAvx512VpopcntEmulated, kAnyForm,
        QconvLookupBytesAvx512Vpopcnt, PrepareQconvLookupAvx512Vpopcnt},
       {"qconv_avx512_emulated", Isa::kAvx512, QconvAvx512Emulated, kAnyForm},
       {"qconv_avxvnni_emulated", Isa::kAvxVnni, QconvAvxVnniEmulated, kAnyForm}});
}

std::vector<RequantKernel> EmulatedRequantKernels() {
  return IfRunnable<RequantKernel>(
      {{"requant_avx512_emulated", Isa::kAvx512, RequantAvx512Emulated}});
}

}  // namespace test

#else

namespace test {

std::vector<BconvKernel> EmulatedBconvKernels() { return {}; }
std::vector<BdepthKernel> EmulatedBdepthKernels() { return {}; }
std::vector<PackKernel> EmulatedPackKernels() { return {}; }
std::vector<PoolKernel> EmulatedPoolKernels() { return {}; }
std::vector<QconvKernel> EmulatedQconvKernels() { return {}; }
std::vector<RequantKernel> EmulatedRequantKernels() { return {}; }

}  // namespace test

#endif

}  // namespace bitmill
