// The AVX-512 and AMX kernels, built with emulated instructions; empty lists off x86-64.
#pragma once

#include <vector>

#include "kernels/bconv/bconv_table.h"
#include "kernels/bdepth/bdepth_table.h"
#include "kernels/pack/pack_table.h"
#include "kernels/pool/pool_table.h"
#include "kernels/qconv/qconv_table.h"
#include "kernels/requant/requant_table.h"

namespace bitmill::test {

std::vector<BconvKernel> EmulatedBconvKernels();
std::vector<BdepthKernel> EmulatedBdepthKernels();
std::vector<PackKernel> EmulatedPackKernels();
std::vector<PoolKernel> EmulatedPoolKernels();
std::vector<QconvKernel> EmulatedQconvKernels();
std::vector<RequantKernel> EmulatedRequantKernels();

}  // namespace bitmill::test
