// Max pooling on packed bits and on codes, channels innermost.
//
// bits:  the maximum of +1/-1 is AND of the bits (a set bit is -1); channels in `minimum` use OR.
// codes: the maximum of the bytes; channels whose byte in `minimum` is 0xff use the minimum.
// The window is clipped to the image, so padding never wins; it always holds one pixel or more.
// Pixels are pixel_bytes apart in source and destination (a multiple of 8 for bits); the whole
// pixel is written. Reentrant; allocates nothing.
#pragma once

#include <stdint.h>

namespace bitmill {

struct PoolArgs {
  const uint8_t* input;
  int64_t in_image, in_row;  // bytes
  int32_t in_pixel;          // bytes
  int32_t batch, in_h, in_w, out_h, out_w;
  // pad_top may be negative: the first output line is then one further down.
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
  int32_t pixel_bytes;     // bytes of a pixel that are pooled
  const uint8_t* minimum;  // [pixel_bytes] mask: bit (or 0xff byte) set = minimum; null: none
  uint8_t* output;
  int64_t out_image, out_row, out_pixel;
};

using PoolFn = void (*)(const PoolArgs& args);

}  // namespace bitmill
