// Pieces that the entry of one instruction set chooses between, by the shape of the problem.
#pragma once

#include <stdint.h>

#include "kernels/bconv/bconv.h"

namespace bitmill {

// Weights looked up as indices of small tables, a tile of pixels at a time. One
// plane and at most kBconvLookupMaxWords words a window (taps * c_words).
void BconvLookupAvx2(const BconvArgs& args);
// Weights of `blocks` blocks (at most 4 * vectors; block_words from one to the next) and `words`
// words as vectors of 32 output channels for the lookup: pieces[word][16][vectors][32 bytes], with
// 4 bits in each byte. Bytes 0 to 15 alternate between blocks 0 and 1, the others between 2 and 3.
// Missing blocks are zero.
void RearrangeBconvWeightsAvx2(const uint64_t* weights, int64_t block_words, int64_t blocks,
                               int64_t words, int64_t vectors, uint8_t* pieces);
// Exclusive or and byte-wise popcount; any size. For few pixels, and ternary.
void BconvDirectAvx2(const BconvArgs& args);

// Sums of a lane are 16 bits wide: 64 * 1023 < 2^16.
constexpr int32_t kBconvLookupMaxWords = 1023;

}  // namespace bitmill
