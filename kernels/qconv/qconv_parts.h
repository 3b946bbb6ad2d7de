// Pieces of low-bit convolutions that several instruction sets share.
#pragma once

#include <stdint.h>

#include "kernels/qconv/qconv.h"

namespace bitmill {

struct QconvPixel {
  const uint8_t* window;
  int64_t out;  // first element in the output
};

// Output pixels `first` to `first + count - 1`, row by row, image by image.
void ListQconvPixels(const QconvArgs& args, int64_t first, int64_t count, QconvPixel* pixels);

// Bytes from one block of 8 channels to the next.
int64_t QconvBlockBytes(QconvWeights kind, int32_t steps);

// How many products a * w of codes below `levels` with weights of `kind` a sum of 16 bits with sign
// holds whatever their values; 0 when not even two.
int32_t QconvProductsInInt16(QconvWeights kind, int32_t levels);

// Steps `first` (a multiple of 8) to `first + count - 1` of the block at `weights` as signed bytes:
// 32 a step, `stride` bytes from step to step. AVX2.
void ExpandQconvWeightsAvx2(QconvWeights kind, const uint8_t* weights, int64_t first, int64_t count,
                            int8_t* out, int64_t stride);

// Adds base to sums[pixel][blocks * 8] and writes the outputs of `blocks` blocks from `channel` on.
// AVX2.
void StoreQconvTileAvx2(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                        int64_t channel, int64_t blocks, const int32_t* sums);

}  // namespace bitmill
