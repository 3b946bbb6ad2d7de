// Convolution (and dense product: a 1x1 convolution over an image of one row) of 1-bit activations
// with 1-bit or ternary weights (arXiv:1603.05279; a set bit stands for -1).
//
//   x[p][o]   = sum over taps t and words w of popcount(a[p][t][w] xor b[o][t][w])
//               ternary: popcount(mask[o][t][w] and (a xor sign))
//   acc[p][o] = base[o] - 2 * x[p][o]         base = number of products that count; acc wraps
//   around
//
// Activations: pixels of `c_words` 64-bit words, channels innermost, bits past the last channel
// zero. A spatial border is written into the buffer by the caller, so the window of output pixel
// (y, x) starts at input + y * stride_h * row_words + x * stride_w * pixel_words and a tap lies at
// a fixed word offset from it. Zero padding: border words are zero (+1) and each output pixel
// belongs to a class (which taps fall outside); `base` and `limits` have a row for each class.
//
// Weights: [blocks][taps][c_words][planes][8] words: lane = output channel within its block of 8,
// so nothing is summed across lanes. Planes: 1 (sign), or 2 for ternary (mask, then sign).
// Lanes past out_channels are zero.
//
// Sparse weights (`sparse` is not null): output channels come in groups, and a group has only the
// words in which any of its weights counts. A list names them for all of its blocks, and weights
// are [groups][blocks of the group][words of the group][planes][8]. With one plane every weight of
// a listed word counts; the products of the others are in neither x nor base. Only kernels whose
// table entry says so take them.
//
// Outputs, one of
//   bits:  bit o of the pixel is x > limits[class][o]: ceil(out_channels / 8) bytes are written,
//   the
//          unused high bits of the last byte zero; further bytes of the pixel are left alone.
//          Comparisons that a negative scale turns around are stored by negating that channel's
//          weights, so there is no flip here.
//   int32: acc, [out_channels] a pixel.
//   float: acc * scale[o] + bias[o], two roundings (no fused multiply-add), [out_channels] a pixel;
//          with `finish` (bconv_finish.h) what that makes of it.
//
// Reads only the words named above and whole blocks of weights, base, limits, scale and bias (all
// padded to 8 channels). Reentrant; allocates nothing. Output overlaps no input.
#pragma once

#include <stdint.h>

namespace bitmill {

struct BconvFinish;

struct BconvSparse {
  int32_t group_channels;     // a multiple of 8; the last group may have fewer
  const int32_t* first_word;  // [groups + 1] where the words of a group begin in the next
  const int32_t* words;       // offset of each word from the start of the window, ascending
};

struct BconvArgs {
  const uint64_t* input;
  int64_t image_words;  // from one image to the next
  int64_t row_words;    // from one input row to the next
  int32_t pixel_words;  // from one pixel to the next
  int32_t c_words;      // words of a tap that take part (at most pixel_words)
  int32_t batch, out_h, out_w, out_channels;
  int32_t stride_h, stride_w;
  const int32_t* tap_words;  // [taps] offset of each tap from the start of the window
  int32_t taps;              // of the whole window, with sparse weights too

  const uint64_t* weights;
  int32_t planes;  // 1 or 2
  // The same weights as PrepareBconv() (kernels/bconv/bconv_table.h) left them for this kernel, or
  // null.
  const void* prepared;
  // BconvScratchBytes() bytes on a boundary of 64 that the call may write, or null.
  void* scratch;
  const BconvSparse* sparse;  // null: dense

  // Class of output pixel (y, x): row_class[y] * col_classes + col_class[x]; both null: class 0.
  const int32_t* row_class;
  const int32_t* col_class;
  int32_t col_classes;

  // [classes][out_channels rounded up to 8]
  const int32_t* base;    // int32 and float output
  const int32_t* limits;  // bit output; INT32_MAX: always 0, -1: always 1

  uint8_t* out_bits;  // exactly one of the three outputs is not null
  int32_t* out_int32;
  float* out_float;
  int64_t out_image, out_row, out_pixel;  // strides: bytes for bits, elements otherwise
  // Of a float output without `finish`, from a channel to the next: 1, or planes of pixels one
  // behind the other (out_pixel is 1 then). Only where BconvStoresPlanes() (bconv_table.h).
  int64_t out_channel = 1;
  const float* scale;  // [out_channels rounded up to 8]
  const float* bias;
  // Null, or what follows a float output. Only where BconvFinishes() (bconv_table.h).
  const BconvFinish* finish = nullptr;
};

using BconvFn = void (*)(const BconvArgs& args);

}  // namespace bitmill
