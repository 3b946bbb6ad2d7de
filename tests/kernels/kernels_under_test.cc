#include "tests/kernels/kernels_under_test.h"

#include "tests/kernels/emulated.h"

namespace bitmill::test {
namespace {

template <typename Kernel>
std::vector<Kernel> Runnable(const Kernel* table, int count, const std::vector<Kernel>& emulated) {
  std::vector<Kernel> kernels;
  for (int i = 0; i < count; ++i) {
    if (IsaAllows(BestIsa(), table[i].isa)) kernels.push_back(table[i]);
  }
  kernels.insert(kernels.end(), emulated.begin(), emulated.end());
  return kernels;
}

}  // namespace

std::vector<BconvKernel> BconvKernelsUnderTest() {
  int count = 0;
  const BconvKernel* table = BconvKernels(&count);
  return Runnable(table, count, EmulatedBconvKernels());
}

std::vector<BdepthKernel> BdepthKernelsUnderTest() {
  int count = 0;
  const BdepthKernel* table = BdepthKernels(&count);
  return Runnable(table, count, EmulatedBdepthKernels());
}

std::vector<PackKernel> PackKernelsUnderTest() {
  int count = 0;
  const PackKernel* table = PackKernels(&count);
  return Runnable(table, count, EmulatedPackKernels());
}

std::vector<PoolKernel> PoolKernelsUnderTest() {
  int count = 0;
  const PoolKernel* table = PoolKernels(&count);
  return Runnable(table, count, EmulatedPoolKernels());
}

std::vector<QconvKernel> QconvKernelsUnderTest() {
  int count = 0;
  const QconvKernel* table = QconvKernels(&count);
  return Runnable(table, count, EmulatedQconvKernels());
}

std::vector<RequantKernel> RequantKernelsUnderTest() {
  int count = 0;
  const RequantKernel* table = RequantKernels(&count);
  return Runnable(table, count, EmulatedRequantKernels());
}

}  // namespace bitmill::test
