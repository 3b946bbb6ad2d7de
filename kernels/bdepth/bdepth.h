// Depthwise convolution of 1-bit activations with 1-bit or ternary weights: channel c of the output
// is a window of channel c of the input times that channel's weights (a set bit stands for -1).
//
//   x[p][c]   = how often a[p][t][c] xor b[t][c] holds over the taps t
//               ternary: mask[t][c] and (a xor sign)
//   acc[p][c] = base[c] - 2 * x[p][c]         base = number of products that count; acc wraps
//   around
//
// A word holds 64 channels of a pixel, so one bit is all that a channel has of a tap: kernels count
// 64 channels of a word, and the words of a vector, at once in bit planes, plane k holding bit k of
// every x. Carry-save adders add the taps, and a comparison of planes takes the threshold.
//
// Activations: pixels of c_words 64-bit words, one behind the other, channels innermost, bits past
// the last channel zero; the border is written into the buffer by the caller, and the window of
// output pixel (y, x) starts at input + y * stride_h * row_words + x * stride_w * c_words. Zero
// padding: as in kernels/bconv/bconv.h, border words are zero and limits and base make up for it by
// position.
//
// Weights: [taps][planes][c_words + kBdepthRepeatWords], planes 1 (sign) or 2 (mask, then sign).
// Word i of such a line is that of word i % c_words of a pixel, so that a vector may begin anywhere
// in a pixel. Bits past the last channel are zero.
//
// Outputs, one of
//   bits:  x > limit, in the planes of the limits: limits[row class][k][out_w * c_words], word
//          x * c_words + w for word w of output pixel x, is bit k of 2^n - 2 - limit, where n is
//          kBdepthNarrowPlanes or kBdepthWidePlanes and -1 <= limit <= 2^n - 2; -1 is always 1, and
//          2^n - 2 (as past the last channel) always 0. Whole words are written, c_words a pixel.
//   int32: acc, [channels] a pixel, pixels one behind the other.
//   float: acc * scale[c] + bias[c], two roundings, stored alike.
//
// Reads only what is named above. Reentrant; allocates nothing. Output overlaps no input.
#pragma once

#include <stdint.h>

namespace bitmill {

struct BdepthArgs {
  const uint64_t* input;
  int64_t image_words;  // from one image to the next
  int64_t row_words;    // from one input row to the next
  int32_t channels;
  int32_t c_words;  // channels / 64, rounded up
  int32_t batch, out_h, out_w;
  int32_t stride_h, stride_w;
  const int32_t* tap_words;  // [taps] offset of each tap from the start of the window
  int32_t taps;              // 1 to kBdepthMaxTaps

  const uint64_t* weights;
  int32_t planes;  // 1 or 2

  // Both null: one class. Limits are those of row_class[y], base that of class
  // row_class[y] * col_classes + col_class[x].
  const int32_t* row_class;
  const int32_t* col_class;
  int32_t col_classes;

  const uint64_t* limits;  // bits
  const int32_t* base;     // [classes][channels rounded up to 8]; int32 and float
  const float* scale;      // [channels]
  const float* bias;

  uint64_t* out_bits;  // exactly one of the three outputs is not null
  int32_t* out_int32;
  float* out_float;
  int64_t out_image, out_row;  // strides in elements (words of bits)
};

using BdepthFn = void (*)(const BdepthArgs& args);

constexpr int32_t kBdepthMaxTaps = 62;
// Counts of that many taps, and one more, are written in the fewer planes.
constexpr int32_t kBdepthNarrowTaps = 14;
constexpr int32_t kBdepthNarrowPlanes = 4;
constexpr int32_t kBdepthWidePlanes = 6;

// The widest vector may begin at any word of a pixel.
constexpr int64_t kBdepthRepeatWords = 7;

}  // namespace bitmill
