// The implementations of kernels/bdepth/bdepth.h, best first, the reference last.
#pragma once

#include <stdint.h>

#include "kernels/bdepth/bdepth.h"
#include "kernels/isa.h"

namespace bitmill {

struct BdepthKernel {
  const char* name;  // "bdepth_avx2"
  Isa isa;
  BdepthFn run;
};

// All implementations built into this binary, whether or not this machine can run them.
const BdepthKernel* BdepthKernels(int* count);
// The first that `allowed` permits.
const BdepthKernel& SelectBdepth(Isa allowed);

// Planes of counts and limits.
int32_t BdepthCountPlanes(int32_t taps);

// Weights w[channels][taps] of -1, 0 (two planes only) and +1 into the layout of bdepth.h: taps *
// planes * (c_words + kBdepthRepeatWords) words. `negate`, per channel, may be null.
void PackBdepthWeights(const int8_t* weights, int32_t channels, int32_t taps, int32_t planes,
                       const uint8_t* negate, uint64_t* packed);

// Writes the limit of one channel and position into the planes of a row class (all zero before):
// `word` is the position's in plane 0, planes are plane_words apart. Any limit: those below -1 are
// always met, those of `taps` and more never.
void SetBdepthLimit(int32_t limit, int32_t taps, int64_t plane_words, int32_t channel,
                    uint64_t* word);

}  // namespace bitmill
