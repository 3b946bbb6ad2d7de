// What the kernel tests run: every table entry that this machine can run and, on x86-64, those
// AVX-512, AVX-VNNI and AMX files that it cannot run, built with emulated instructions (names end
// in "_emulated"). BITMILL_EMULATE=1 runs the emulated ones on every machine.
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
