// int32 accumulators -> codes or bits, a row of pixels at a time.
//
// thresholds: code[o] = number of i with thresholds[i][o] <= acc[o], i < levels - 1 (levels <=
// 256).
//             Thresholds of a channel ascend with i. Channels to be negated are negated in weights
//             and base beforehand.
// bits:       bit o = acc[o] < thresholds[0][o] (a set bit stands for -1).
// affine:     code[o] = clamp(round(acc * scale[o] + bias[o]), 0, levels - 1): acc converted to
//             float, two roundings, clamp before rounding, half to even. For codes of 8 bits.
//
// acc: [pixels][acc_pixel], channels used first. Codes: channels bytes a pixel at stride out_pixel
// bytes; bits: ceil(channels / 8) bytes a pixel, unused high bits zero. Other bytes are left alone.
// thresholds, scale and bias are padded to 8 channels. Reentrant; allocates nothing.
#pragma once

#include <stdint.h>

namespace bitmill {

struct RequantArgs {
  const int32_t* acc;
  int64_t acc_pixel;
  int32_t pixels, channels, levels;
  const int32_t* thresholds;  // [levels - 1][channels rounded up to 8]; null for affine
  const float* scale;         // affine
  const float* bias;
  uint8_t* out_codes;  // one of the two is not null; bits need thresholds and levels 2
  uint8_t* out_bits;
  int64_t out_pixel;  // bytes
};

using RequantFn = void (*)(const RequantArgs& args);

}  // namespace bitmill
