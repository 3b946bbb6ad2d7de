#include "tests/kernels/emulated.h"

namespace bitmill::test {

std::vector<BconvKernel> EmulatedBconvKernels() { return {}; }
std::vector<PackKernel> EmulatedPackKernels() { return {}; }
std::vector<PoolKernel> EmulatedPoolKernels() { return {}; }
std::vector<QconvKernel> EmulatedQconvKernels() { return {}; }
std::vector<RequantKernel> EmulatedRequantKernels() { return {}; }

}  // namespace bitmill::test
