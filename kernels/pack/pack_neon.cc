// Memory-bound. Channels innermost (src_channel 1): two comparisons make a byte of 8 channels.
// Pixels innermost (src_pixel 1): 16 pixels of one channel become 16 bytes of 0 or 255, eight
// channels are merged bit by bit, and each byte is stored to its pixel. Other strides, and what is
// left over, go one by one.
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "kernels/pack/pack.h"

namespace bitmill {

void SignPackNeon(const SignPackArgs& args);
void QuantPackNeon(const QuantPackArgs& args);

namespace {

// The source may have any alignment.
float LoadFloat(const float* from) {
  float value;
  memcpy(&value, from, sizeof(value));
  return value;
}

constexpr int32_t kLanes = 4;
constexpr int32_t kByteChannels = 8;
constexpr int32_t kTilePixels = 16;

// Bit i set: channel first + i is inverted.
uint32_t InvertBits(const SignPackArgs& args, int32_t first, int32_t count) {
  if (args.invert == nullptr) return 0;
  if (args.per_channel == 0) return args.invert[0] != 0 ? (uint32_t{1} << count) - 1 : 0;
  uint32_t bits = 0;
  for (int32_t i = 0; i < count; ++i) {
    bits |= static_cast<uint32_t>(args.invert[first + i] != 0) << i;
  }
  return bits;
}

// All ones where the value is not at least the threshold.
inline uint32x4_t Below(const float* src, float32x4_t threshold) {
  return vmvnq_u32(vcgeq_f32(vld1q_f32(src), threshold));
}

// 8 channels of all pixels, channels innermost.
void SignPackByte(const SignPackArgs& args, int32_t channel) {
  static const uint32_t kBits[kByteChannels] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint32x4_t low_bits = vld1q_u32(kBits);
  const uint32x4_t high_bits = vld1q_u32(kBits + kLanes);
  const bool own = args.per_channel != 0;
  const float32x4_t low =
      own ? vld1q_f32(args.thresholds + channel) : vdupq_n_f32(args.thresholds[0]);
  const float32x4_t high =
      own ? vld1q_f32(args.thresholds + channel + kLanes) : vdupq_n_f32(args.thresholds[0]);
  const uint32_t invert = InvertBits(args, channel, kByteChannels);
  const float* src = args.src + channel;
  uint8_t* dst = args.dst + channel / 8;
  for (int32_t p = 0; p < args.pixels; ++p, src += args.src_pixel, dst += args.dst_pixel) {
    const uint32x4_t bits = vorrq_u32(vandq_u32(Below(src, low), low_bits),
                                      vandq_u32(Below(src + kLanes, high), high_bits));
    *dst = static_cast<uint8_t>(vaddvq_u32(bits) ^ invert);
  }
}

// 8 channels or fewer of pixels first .. pixels - 1, one by one.
void SignPackScalar(const SignPackArgs& args, int32_t first, int32_t channel, int32_t count) {
  const uint32_t invert = InvertBits(args, channel, count);
  for (int32_t p = first; p < args.pixels; ++p) {
    const float* src = args.src + p * args.src_pixel + channel * args.src_channel;
    uint32_t bits = 0;
    for (int32_t i = 0; i < count; ++i) {
      const float threshold = args.thresholds[args.per_channel != 0 ? channel + i : 0];
      bits |= static_cast<uint32_t>(!(LoadFloat(src + i * args.src_channel) >= threshold)) << i;
    }
    args.dst[p * args.dst_pixel + channel / 8] = static_cast<uint8_t>(bits ^ invert);
  }
}

// 8 channels or fewer, pixels innermost.
void SignPackPlanes(const SignPackArgs& args, int32_t channel, int32_t count) {
  const uint8x16_t invert = vdupq_n_u8(static_cast<uint8_t>(InvertBits(args, channel, count)));
  int32_t p = 0;
  for (; p + kTilePixels <= args.pixels; p += kTilePixels) {
    uint8x16_t bytes = invert;
    for (int32_t i = 0; i < count; ++i) {
      const float32x4_t threshold =
          vdupq_n_f32(args.thresholds[args.per_channel != 0 ? channel + i : 0]);
      const float* src = args.src + p + (channel + i) * args.src_channel;
      const uint16x8_t low =
          vcombine_u16(vmovn_u32(Below(src, threshold)), vmovn_u32(Below(src + kLanes, threshold)));
      const uint16x8_t high = vcombine_u16(vmovn_u32(Below(src + 2 * kLanes, threshold)),
                                           vmovn_u32(Below(src + 3 * kLanes, threshold)));
      const uint8x16_t below = vcombine_u8(vmovn_u16(low), vmovn_u16(high));
      bytes = veorq_u8(bytes, vandq_u8(below, vdupq_n_u8(static_cast<uint8_t>(1 << i))));
    }
    uint8_t pixels[kTilePixels];
    vst1q_u8(pixels, bytes);
    uint8_t* dst = args.dst + p * args.dst_pixel + channel / 8;
    for (int32_t i = 0; i < kTilePixels; ++i) dst[i * args.dst_pixel] = pixels[i];
  }
  SignPackScalar(args, p, channel, count);
}

struct Quantizer {
  float32x4_t scale, offset, low, top;
  int32x4_t shift;
};

// fmaxnm gives the number for not a number; fcvtns rounds half to even.
inline uint32x4_t Codes(float32x4_t values, const Quantizer& quantizer) {
  const float32x4_t scaled = vaddq_f32(vdivq_f32(values, quantizer.scale), quantizer.offset);
  const float32x4_t clamped = vminnmq_f32(vmaxnmq_f32(scaled, quantizer.low), quantizer.top);
  return vreinterpretq_u32_s32(vaddq_s32(vcvtnq_s32_f32(clamped), quantizer.shift));
}

inline uint8_t OneCode(float value, const Quantizer& quantizer) {
  return static_cast<uint8_t>(vgetq_lane_u32(Codes(vdupq_n_f32(value), quantizer), 0));
}

// The codes of `count` (at most 4) numbers to dst[0], dst[stride], ...
inline void StoreCodes(const float* src, int64_t count, const Quantizer& quantizer, uint8_t* dst,
                       int64_t stride) {
  if (count < kLanes) {
    for (int64_t i = 0; i < count; ++i) dst[i * stride] = OneCode(LoadFloat(src + i), quantizer);
    return;
  }
  uint32_t codes[kLanes];
  vst1q_u32(codes, Codes(vld1q_f32(src), quantizer));
  for (int64_t i = 0; i < kLanes; ++i) dst[i * stride] = static_cast<uint8_t>(codes[i]);
}

void QuantPackPixel(const QuantPackArgs& args, const Quantizer& quantizer, const float* src,
                    uint8_t* dst) {
  int32_t c = 0;
  for (; c + 2 * kLanes <= args.channels; c += 2 * kLanes) {
    const uint16x8_t codes = vcombine_u16(vmovn_u32(Codes(vld1q_f32(src + c), quantizer)),
                                          vmovn_u32(Codes(vld1q_f32(src + c + kLanes), quantizer)));
    vst1_u8(dst + c, vmovn_u16(codes));
  }
  for (; c < args.channels; c += kLanes) {
    StoreCodes(src + c, args.channels - c, quantizer, dst + c, 1);
  }
}

}  // namespace

void SignPackNeon(const SignPackArgs& args) {
  for (int32_t c = 0; c < args.channels; c += kByteChannels) {
    const int32_t left = args.channels - c;
    const int32_t count = left < kByteChannels ? left : kByteChannels;
    if (args.src_channel == 1 && count == kByteChannels) {
      SignPackByte(args, c);
    } else if (args.src_pixel == 1) {
      SignPackPlanes(args, c, count);
    } else {
      SignPackScalar(args, 0, c, count);
    }
  }
}

void QuantPackNeon(const QuantPackArgs& args) {
  const Quantizer quantizer = {vdupq_n_f32(args.scale), vdupq_n_f32(args.offset),
                               vdupq_n_f32(static_cast<float>(-args.shift)),
                               vdupq_n_f32(static_cast<float>(args.levels - 1 - args.shift)),
                               vdupq_n_s32(args.shift)};
  if (args.src_pixel == 1 && args.src_channel != 1) {
    for (int32_t c = 0; c < args.channels; ++c) {
      const float* src = args.src + c * args.src_channel;
      for (int32_t p = 0; p < args.pixels; p += kLanes) {
        StoreCodes(src + p, args.pixels - p, quantizer, args.dst + p * args.dst_pixel + c,
                   args.dst_pixel);
      }
    }
    return;
  }
  for (int32_t p = 0; p < args.pixels; ++p) {
    const float* src = args.src + p * args.src_pixel;
    uint8_t* dst = args.dst + p * args.dst_pixel;
    if (args.src_channel == 1) {
      QuantPackPixel(args, quantizer, src, dst);
      continue;
    }
    for (int32_t c = 0; c < args.channels; ++c) {
      dst[c] = OneCode(LoadFloat(src + c * args.src_channel), quantizer);
    }
  }
}

}  // namespace bitmill
