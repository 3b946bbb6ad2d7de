// What the kernel tests run: every table entry that this machine can run and, on x86-64, the
// AVX-512 files once more, built with emulated instructions (names end in "_emulated"), so that
// they are tested on machines without AVX-512.
#pragma once

#include <vector>

#include "kernels/bconv/bconv_table.h"
#include "kernels/bdepth/bdepth_table.h"
#include "kernels/pack/pack_table.h"
#include "kernels/pool/pool_table.h"
#include "kernels/qconv/qconv_table.h"
#include "kernels/requant/requant_table.h"

namespace bitmill::test {

std::vector<BconvKernel> BconvKernelsUnderTest();
std::vector<BdepthKernel> BdepthKernelsUnderTest();
std::vector<PackKernel> PackKernelsUnderTest();
std::vector<PoolKernel> PoolKernelsUnderTest();
std::vector<QconvKernel> QconvKernelsUnderTest();
std::vector<RequantKernel> RequantKernelsUnderTest();

}  // namespace bitmill::test
