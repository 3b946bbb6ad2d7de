#include "kernels/qconv/qconv_table.h"

namespace bitmill {

void QconvRef(const QconvArgs& args);

namespace {

constexpr QconvKernel kKernels[] = {
    {"qconv_ref", Isa::kRef, QconvRef},
};
constexpr int kCount = sizeof(kKernels) / sizeof(kKernels[0]);

}  // namespace

const QconvKernel* QconvKernels(int* count) {
  *count = kCount;
  return kKernels;
}

const QconvKernel& SelectQconv(Isa allowed) {
  for (const QconvKernel& kernel : kKernels) {
    if (IsaAllows(allowed, kernel.isa)) return kernel;
  }
  return kKernels[kCount - 1];
}

}  // namespace bitmill
