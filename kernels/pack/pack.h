// Tensors -> bits or 8-bit codes, channels innermost.
//
// The source is read as src[p * src_pixel + c * src_channel] (strides in elements): NCHW has
// src_pixel 1 and src_channel H*W, NHWC has src_channel 1. It may have any alignment.
//
// SignPack:  bit c = !(x >= threshold[c]) xor invert[c]; NaN counts as below every threshold;
//            -0.0 equals 0.0. One threshold for all when `per_channel` is 0.
//            Writes ceil(channels / 8) bytes a pixel, unused high bits zero.
// SignPackNarrow: the same for numbers of 8 or 16 bits, which are compared as integers:
//            bit c = !(key(x) >= keys[c]) xor invert[c], where key(x) rises with x: the number
//            itself of an integer, the bits of a positive float (as int16_t) and the bits xor
//            0x7fff of a negative one. Not a number counts as below every key. SignKey() makes
//            keys of thresholds (kernels/pack/sign_key.h).
// QuantPack: code = shift + round(clamp(x / scale + offset, -shift, levels - 1 - shift)), half to
//            even; NaN gives 0. Writes `channels` bytes a pixel.
// Other bytes of the destination are left alone. Reentrant; allocates nothing.
#pragma once

#include <stdint.h>

namespace bitmill {

struct SignPackArgs {
  const float* src;
  int64_t src_pixel, src_channel;
  int32_t pixels, channels;
  int32_t per_channel;      // 0 or 1
  const float* thresholds;  // [1] or [channels]
  const uint8_t* invert;    // [1] or [channels], 0 or 1; null: none
  uint8_t* dst;
  int64_t dst_pixel;  // bytes
};

struct QuantPackArgs {
  const float* src;
  int64_t src_pixel, src_channel;
  int32_t pixels, channels;
  float scale, offset;
  int32_t levels;     // at most 256
  int32_t shift = 0;  // 0 to levels - 1
  uint8_t* dst;
  int64_t dst_pixel;
};

enum class PackSource : uint8_t { kHalf, kBFloat16, kInt8, kUInt8 };

struct SignPackNarrowArgs {
  PackSource source;
  const void* src;
  int64_t src_pixel, src_channel;  // elements
  int32_t pixels, channels;
  int32_t per_channel;    // 0 or 1
  const int16_t* keys;    // [1] or [channels]; of integers in the range of the source
  const uint8_t* invert;  // [1] or [channels], 0 or 1; null: none
  uint8_t* dst;
  int64_t dst_pixel;  // bytes
};

using SignPackFn = void (*)(const SignPackArgs& args);
using SignPackNarrowFn = void (*)(const SignPackNarrowArgs& args);
using QuantPackFn = void (*)(const QuantPackArgs& args);

}  // namespace bitmill
