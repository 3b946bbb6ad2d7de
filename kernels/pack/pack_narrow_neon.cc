// Signs of 8 and 16-bit numbers: comparisons of integers, 16 a turn, as bytes of 0 or 255.
//
// Channels innermost: 8 channels become a byte. Pixels innermost: 16 pixels of one channel are 16
// bytes, eight channels are merged bit by bit, and each byte is stored to its pixel. Other strides,
// and what is left over, are brought together first.
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "kernels/pack/pack.h"

namespace bitmill {

void SignPackNarrowNeon(const SignPackNarrowArgs& args);

namespace {

constexpr int32_t kByteChannels = 8;
constexpr int32_t kTurn = 16;  // numbers

inline int32_t Smaller(int32_t a, int32_t b) { return a < b ? a : b; }

// Bit i set: channel first + i is inverted.
uint32_t InvertBits(const SignPackNarrowArgs& args, int32_t first, int32_t count) {
  if (args.invert == nullptr) return 0;
  if (args.per_channel == 0) return args.invert[0] != 0 ? (uint32_t{1} << count) - 1 : 0;
  uint32_t bits = 0;
  for (int32_t i = 0; i < count; ++i) {
    bits |= static_cast<uint32_t>(args.invert[first + i] != 0) << i;
  }
  return bits;
}

// A source has the bytes of a number, keys of 8 numbers, and bytes of 255 where the 8 numbers at
// `at` do not reach them.
template <bool kUnsigned>
struct Bytes {
  static constexpr int64_t kBytes = 1;
  using Keys = uint8x8_t;
  static Keys Each(const int16_t* keys) { return vreinterpret_u8_s8(vmovn_s16(vld1q_s16(keys))); }
  static uint8x8_t Below(const uint8_t* at, Keys keys) {
    const uint8x8_t values = vld1_u8(at);
    return kUnsigned ? vclt_u8(values, keys)
                     : vclt_s8(vreinterpret_s8_u8(values), vreinterpret_s8_u8(keys));
  }
};

template <int kInfinity>
struct Floats16 {
  static constexpr int64_t kBytes = 2;
  using Keys = int16x8_t;
  static Keys Each(const int16_t* keys) { return vld1q_s16(keys); }
  static uint8x8_t Below(const uint8_t* at, Keys keys) {
    const int16x8_t values = vreinterpretq_s16_u8(vld1q_u8(at));
    const int16x8_t negative = vshrq_n_s16(values, 15);
    const int16x8_t rising = veorq_s16(values, vandq_s16(negative, vdupq_n_s16(0x7fff)));
    return vmovn_u16(vorrq_u16(vcltq_s16(rising, keys), vcgtq_s16(rising, vdupq_n_s16(kInfinity))));
  }
};

// Keys of `count` channels (at most 8) from `first` on.
template <typename Source>
typename Source::Keys KeysOf(const SignPackNarrowArgs& args, int32_t first, int32_t count) {
  int16_t keys[kByteChannels] = {};
  for (int32_t i = 0; i < count; ++i) keys[i] = args.keys[args.per_channel != 0 ? first + i : 0];
  return Source::Each(keys);
}

inline uint8_t BitsOf(uint8x8_t below) {
  static const uint8_t kBits[kByteChannels] = {1, 2, 4, 8, 16, 32, 64, 128};
  return vaddv_u8(vand_u8(below, vld1_u8(kBits)));
}

// Up to 8 channels of pixels first .. pixels - 1; channels innermost when kInner, and 8 of them.
template <typename Source, bool kInner>
void PackByte(const SignPackNarrowArgs& args, int32_t first, int32_t channel, int32_t count) {
  const uint8_t* const src = static_cast<const uint8_t*>(args.src);
  const typename Source::Keys keys = KeysOf<Source>(args, channel, count);
  const uint32_t invert = InvertBits(args, channel, count);
  const uint32_t keep = (uint32_t{1} << count) - 1;
  for (int32_t p = first; p < args.pixels; ++p) {
    const uint8_t* at = src + (p * args.src_pixel + channel * args.src_channel) * Source::kBytes;
    uint8_t numbers[kByteChannels * Source::kBytes] = {};
    if (!kInner) {
      for (int32_t c = 0; c < count; ++c) {
        memcpy(numbers + c * Source::kBytes, at + c * args.src_channel * Source::kBytes,
               Source::kBytes);
      }
      at = numbers;
    }
    args.dst[p * args.dst_pixel + channel / 8] =
        static_cast<uint8_t>((BitsOf(Source::Below(at, keys)) & keep) ^ invert);
  }
}

// Up to 8 channels of all pixels, pixels innermost.
template <typename Source>
void PackPlanes(const SignPackNarrowArgs& args, int32_t channel, int32_t count) {
  const uint8_t* const src = static_cast<const uint8_t*>(args.src);
  const uint8x16_t invert = vdupq_n_u8(static_cast<uint8_t>(InvertBits(args, channel, count)));
  int32_t p = 0;
  for (; p + kTurn <= args.pixels; p += kTurn) {
    uint8x16_t bytes = invert;
    for (int32_t c = 0; c < count; ++c) {
      int16_t same[kByteChannels];
      vst1q_s16(same, vdupq_n_s16(args.keys[args.per_channel != 0 ? channel + c : 0]));
      const typename Source::Keys keys = Source::Each(same);
      const uint8_t* const at = src + (p + (channel + c) * args.src_channel) * Source::kBytes;
      const uint8x16_t below = vcombine_u8(
          Source::Below(at, keys), Source::Below(at + kByteChannels * Source::kBytes, keys));
      bytes = veorq_u8(bytes, vandq_u8(below, vdupq_n_u8(static_cast<uint8_t>(1 << c))));
    }
    uint8_t pixels[kTurn];
    vst1q_u8(pixels, bytes);
    uint8_t* const dst = args.dst + p * args.dst_pixel + channel / 8;
    for (int32_t i = 0; i < kTurn; ++i) dst[i * args.dst_pixel] = pixels[i];
  }
  PackByte<Source, false>(args, p, channel, count);
}

template <typename Source>
void Pack(const SignPackNarrowArgs& args) {
  for (int32_t c = 0; c < args.channels; c += kByteChannels) {
    const int32_t count = Smaller(args.channels - c, kByteChannels);
    if (args.src_channel == 1 && count == kByteChannels) {
      PackByte<Source, true>(args, 0, c, count);
    } else if (args.src_channel != 1 && args.src_pixel == 1) {
      PackPlanes<Source>(args, c, count);
    } else {
      PackByte<Source, false>(args, 0, c, count);
    }
  }
}

}  // namespace

void SignPackNarrowNeon(const SignPackNarrowArgs& args) {
  switch (args.source) {
    case PackSource::kHalf:
      return Pack<Floats16<0x7c00>>(args);
    case PackSource::kBFloat16:
      return Pack<Floats16<0x7f80>>(args);
    case PackSource::kInt8:
      return Pack<Bytes<false>>(args);
    case PackSource::kUInt8:
      return Pack<Bytes<true>>(args);
  }
}

}  // namespace bitmill
