#include "tests/kernels/kernels_under_test.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "kernels/qconv/qconv_2of4.h"
#include "kernels/qconv/qconv_lookup.h"
#include "tests/kernels/emulated.h"

namespace bitmill::test {
namespace {

// BITMILL_EMULATE=1 runs the emulated files on every machine, to mend the emulation itself.
bool AlwaysEmulate() {
  const char* const value = std::getenv("BITMILL_EMULATE");
  return value != nullptr && std::string_view(value) == "1";
}

template <typename Kernel>
std::vector<Kernel> Runnable(const Kernel* table, int count, const std::vector<Kernel>& emulated) {
  std::vector<Kernel> kernels;
  for (int i = 0; i < count; ++i) {
    if (IsaAllows(BestIsa(), table[i].isa)) kernels.push_back(table[i]);
  }
  // The same source a second time shows nothing, and takes most of the time under a sanitizer.
  std::copy_if(
      emulated.begin(), emulated.end(), std::back_inserter(kernels),
      [](const Kernel& kernel) { return !IsaAllows(BestIsa(), kernel.isa) || AlwaysEmulate(); });
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
  std::vector<QconvKernel> kernels = Runnable(table, count, EmulatedQconvKernels());
  // 2:4 weights are prepared wherever they can be, not only where that pays.
  for (QconvKernel& kernel : kernels) {
    if (kernel.prepared_bytes == nullptr || kernel.isa != Isa::kAvx512Vpopcnt) continue;
    kernel.prepared_bytes = [](const QconvArgs& args) {
      if (QconvTakesTables(args)) return QconvLookupBytesAvx512Vpopcnt(args);
      return QconvIs2of4(args) ? Qconv2of4Bytes(args) : 0;
    };
    kernel.prepare = [](const QconvArgs& args, void* prepared) {
      if (QconvTakesTables(args)) return PrepareQconvLookupAvx512Vpopcnt(args, prepared);
      PrepareQconv2of4(args, static_cast<uint8_t*>(prepared));
    };
  }
  return kernels;
}

std::vector<RequantKernel> RequantKernelsUnderTest() {
  int count = 0;
  const RequantKernel* table = RequantKernels(&count);
  return Runnable(table, count, EmulatedRequantKernels());
}

}  // namespace bitmill::test
