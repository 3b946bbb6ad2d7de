// The implementations of kernels/qconv/qconv.h, best first, the reference last.
#pragma once

#include <stdint.h>

#include "kernels/isa.h"
#include "kernels/qconv/qconv.h"
#include "kernels/sparse_form.h"

namespace bitmill {

struct QconvKernel {
  const char* name;
  Isa isa;
  QconvFn run;
  SparseForms sparse;  // none: `run` takes dense weights only
};

const QconvKernel* QconvKernels(int* count);
const QconvKernel& SelectQconv(Isa allowed);

// Packs logical weights w[out][c][taps] of one group. channels are padded to a multiple of 4, so
// steps = taps * ceil(channels / 4), taps outermost.
int64_t PackedQconvBytes(QconvWeights kind, int32_t out_channels, int32_t channels, int32_t taps);
void PackQconvWeights(const int8_t* weights, QconvWeights kind, int32_t out_channels,
                      int32_t channels, int32_t taps, uint8_t* packed);

}  // namespace bitmill
