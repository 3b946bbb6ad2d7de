// The implementations of kernels/bconv/bconv.h, best first, the reference last.
#pragma once

#include <stdint.h>

#include "kernels/bconv/bconv.h"
#include "kernels/isa.h"

namespace bitmill {

struct BconvKernel {
  const char* name;  // "bconv_avx2"
  Isa isa;
  BconvFn run;
};

// All implementations built into this binary, whether or not this machine can run them.
const BconvKernel* BconvKernels(int* count);
// The first that `allowed` permits.
const BconvKernel& SelectBconv(Isa allowed);

// Packs logical weights w[out][c][taps] (c outermost of the last two; values -1, +1, and 0 when
// planes is 2) of one group into the layout above; `packed` has PackedBconvWords() words.
// negate: [out_channels] or null; channels whose weights are stored negated.
int64_t PackedBconvWords(int32_t out_channels, int32_t channels, int32_t taps, int32_t planes);
void PackBconvWeights(const int8_t* weights, int32_t out_channels, int32_t channels, int32_t taps,
                      int32_t planes, const uint8_t* negate, uint64_t* packed);

}  // namespace bitmill
