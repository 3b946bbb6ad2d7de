#include "tests/kernels/emulated.h"

namespace bitmill {

#if defined(BITMILL_EMULATED_AVX512)
// The names that tests/kernels/CMakeLists.txt gives to the second build.
void BconvAvx512Emulated(const BconvArgs& args);
void BconvAvx512VpopcntEmulated(const BconvArgs& args);
#endif

namespace test {

std::vector<BconvKernel> EmulatedBconvKernels() {
#if defined(BITMILL_EMULATED_AVX512)
  if (IsaAllows(BestIsa(), Isa::kAvx2)) {
    return {{"bconv_avx512vpopcnt_emulated", Isa::kAvx512Vpopcnt, BconvAvx512VpopcntEmulated},
            {"bconv_avx512_emulated", Isa::kAvx512, BconvAvx512Emulated}};
  }
#endif
  return {};
}

std::vector<PackKernel> EmulatedPackKernels() { return {}; }
std::vector<PoolKernel> EmulatedPoolKernels() { return {}; }
std::vector<QconvKernel> EmulatedQconvKernels() { return {}; }
std::vector<RequantKernel> EmulatedRequantKernels() { return {}; }

}  // namespace test
}  // namespace bitmill
