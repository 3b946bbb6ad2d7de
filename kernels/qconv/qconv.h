// Convolution (and dense product) of unsigned 8-bit activation codes with 1, 2, 4 or 8-bit weights.
//
//   acc[p][o] = sum over taps t and channels c of w[o][t][c] * a[p][t][c] + base[o]; it wraps
//   around
//
// `base` carries the zero point (-zero_point * sum of w): a border is filled with the zero-point
// code, so no correction by position is needed.
//
// Activations: pixels of pixel_bytes bytes (any number: steps are read unaligned), channels
// innermost, bytes past the last channel zero or under zero weights. Activations with fewer bits
// are bytes with small values.
// A step is 4 consecutive bytes, usually channels of one tap; step_bytes[s] is its offset from the
// window's start.
//
// Weights: blocks of 8 output channels; lane = output channel. For step s and lane l the four
// weights w[l][4s .. 4s+3]. A unit of 32 bytes holds several steps, packed by kind:
//   1 bit  8 steps: byte l*4+j, bit i: channel j of step 8u+i; set = -1
//   2 bit  4 steps: byte l*4+j, bits 2i..2i+1: w + 2 of step 4u+i
//   4 bit  2 steps: byte l*4+j, bits 4i..4i+3: w + 8 of step 2u+i
//   8 bit  1 step: byte l*4+j: w, two's complement
// Blocks go in pairs, [pairs][units][2][32 bytes], so that one stream feeds 16 channels; an odd
// last block is [units][32 bytes]. Steps past the last have all bits zero.
// Weights of channels past the last are whatever; their activation bytes are zero. Lanes past
// out_channels are zero weights or ignored.
//
// Sparse weights (`sparse` is not null): output channels come in groups, and a group has only the
// units with a weight that is not zero. A list names them for all of its blocks, and weights are
// [groups][pairs of the group][units of the group][2][32 bytes]. Only kernels whose table entry
// says so take them.
//
// Output: int32 acc or float acc * scale[o] + bias[o] (two roundings), [out_channels] a pixel.
// Exact in int32 on every instruction set (no saturating intermediate), |acc| < 2^31.
// Reads only the bytes named above, whole blocks of weights, base, scale and bias (padded to 8).
// Reentrant; allocates nothing. Output overlaps no input.
#pragma once

#include <stdint.h>

namespace bitmill {

enum class QconvWeights : uint8_t { k1Bit, k2Bit, k4Bit, k8Bit };

struct QconvSparse {
  int32_t group_channels;     // a multiple of 16; the last group may have fewer
  const int32_t* first_unit;  // [groups + 1] where the units of a group begin in the next
  const int32_t* units;       // number of each unit among those of the window, ascending
};

struct QconvArgs {
  const uint8_t* input;
  int64_t image_bytes, row_bytes;
  int32_t pixel_bytes;
  int32_t batch, out_h, out_w, out_channels;
  int32_t stride_h, stride_w;
  const int32_t* step_bytes;  // [steps]
  int32_t steps;

  QconvWeights kind;
  const uint8_t* weights;
  // The same weights as PrepareQconv() (kernels/qconv/qconv_table.h) left them for this kernel, or
  // null.
  const void* prepared = nullptr;
  const QconvSparse* sparse = nullptr;  // null: dense
  // QconvScratchBytes() bytes on a boundary of 64 that the call may write, or null.
  void* scratch = nullptr;
  // Largest activation code + 1 (3 for ternary activations, 256 for 8-bit): kernels use it to know
  // how long 16-bit partial sums stay exact.
  int32_t levels;
  // 2-bit weights of which none is -2: likewise.
  bool ternary = false;
  const int32_t* base;  // [out_channels rounded up to 8]

  int32_t* out_int32;  // exactly one of the two is not null
  float* out_float;
  int64_t out_image, out_row, out_pixel;  // strides in elements
  const float* scale;
  const float* bias;
};

using QconvFn = void (*)(const QconvArgs& args);

}  // namespace bitmill
