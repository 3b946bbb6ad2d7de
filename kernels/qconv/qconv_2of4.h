// Weights of which at most two in four are not zero (2:4 structured sparsity, the pattern that
// accelerators take): of each step's four weights of an output channel. Two steps are multiplied at
// once: each lane gets its own four of their eight activations (vpshufb), for one vpdpbusd where
// dense weights take two.
//
// Prepared once (PrepareQconv): [strips][double steps][pairs of blocks][2][64 bytes], lane = output
// channel: which of the eight activations, 4 bytes 0 to 7 a lane, then the weights for them. A
// window with an odd number of steps is filled up with zero weights. Strips have up to 3 pairs of
// blocks: Qconv2of4Pairs().
#pragma once

#include <stdint.h>

#include "kernels/qconv/qconv.h"

namespace bitmill {

// Whether the dense weights of `args`, of 2 bits or more, have the pattern. Reads all of them.
bool QconvIs2of4(const QconvArgs& args);
// Pairs of blocks of the strip that begins where `left` are left: 1 to 3.
int64_t Qconv2of4Pairs(int64_t left);
int64_t Qconv2of4Bytes(const QconvArgs& args);
void PrepareQconv2of4(const QconvArgs& args, uint8_t* prepared);

// The whole convolution, by args.prepared.
void Qconv2of4Avx512Vpopcnt(const QconvArgs& args);
// The bytes of its weights; 0 without the pattern, where tables are an alternative
// (QconvTakesTables), and on processors that gain nothing.
int64_t Qconv2of4BytesAvx512Vpopcnt(const QconvArgs& args);

}  // namespace bitmill
