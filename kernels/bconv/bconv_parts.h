// Pieces that the entry of one instruction set chooses between, by the shape of the problem. Both
// compute all of BconvArgs.
#pragma once

#include "kernels/bconv/bconv.h"

namespace bitmill {

// Weights looked up as indices of small tables, a tile of pixels at a time. At most
// kBconvLookupMaxWords words a window (taps * c_words).
void BconvLookupAvx2(const BconvArgs& args);
// Exclusive or and byte-wise popcount; any size. Better for few pixels.
void BconvDirectAvx2(const BconvArgs& args);

// Sums of a lane are 16 bits wide: 64 * 1023 < 2^16.
constexpr int32_t kBconvLookupMaxWords = 1023;

}  // namespace bitmill
