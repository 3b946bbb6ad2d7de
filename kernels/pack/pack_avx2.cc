// Memory-bound: 32 bytes of floats a comparison.
//
// Channels innermost (src_channel 1): a comparison and vmovmskps make a byte of 8 channels.
// Pixels innermost (src_pixel 1): 32 pixels of one channel become 32 bytes of 0 or -1, eight
// channels are merged bit by bit, and eight such vectors are unpacked into the words of 32 pixels:
// three packs for each 128 bytes bind. Other strides go the way of the reference.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/pack/pack.h"
#include "kernels/pack/pack_words_avx2.h"

namespace bitmill {

void SignPackAvx2(const SignPackArgs& args);
void QuantPackAvx2(const QuantPackArgs& args);

namespace {

// The source may have any alignment.
float LoadFloat(const float* from) {
  float value;
  memcpy(&value, from, sizeof(value));
  return value;
}

constexpr int32_t kLanes = 8;
constexpr int32_t kTilePixels = 32;
constexpr int32_t kWordChannels = 64;  // of a store
constexpr int32_t kQuadChannels = 4;   // that share a store of codes

inline __m256i LaneMask(int32_t lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), index);
}

// Bits of 8 numbers that are not at least their thresholds.
inline uint32_t BelowBits(__m256 values, __m256 thresholds) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(values, thresholds, _CMP_NGE_UQ)));
}

// kQuads times 32 channels of all pixels: thresholds stay in registers.
template <int kQuads>
void SignPackQuads(const SignPackArgs& args, int32_t channel) {
  __m256 thresholds[kQuads * 4];
  for (int i = 0; i < kQuads * 4; ++i) {
    thresholds[i] = args.per_channel != 0 ? _mm256_loadu_ps(args.thresholds + channel + i * kLanes)
                                          : _mm256_set1_ps(args.thresholds[0]);
  }
  uint32_t inverts[kQuads];
  for (int i = 0; i < kQuads; ++i) {
    inverts[i] = static_cast<uint32_t>(
        InvertBits(args.invert, args.per_channel != 0, channel + i * 4 * kLanes, 4 * kLanes));
  }
  const float* src = args.src + channel;
  uint8_t* dst = args.dst + channel / 8;
  const int64_t src_pixel = args.src_pixel, dst_pixel = args.dst_pixel;
  for (int32_t left = args.pixels; left > 0; --left, src += src_pixel, dst += dst_pixel) {
    for (int q = 0; q < kQuads; ++q) {
      const float* const at = src + q * 4 * kLanes;
      uint32_t bits = BelowBits(_mm256_loadu_ps(at), thresholds[q * 4]);
      bits |= BelowBits(_mm256_loadu_ps(at + 8), thresholds[q * 4 + 1]) << 8;
      bits |= BelowBits(_mm256_loadu_ps(at + 16), thresholds[q * 4 + 2]) << 16;
      bits |= BelowBits(_mm256_loadu_ps(at + 24), thresholds[q * 4 + 3]) << 24;
      bits ^= inverts[q];
      memcpy(dst + q * sizeof(bits), &bits, sizeof(bits));
    }
  }
}

// Up to 8 channels of all pixels.
void SignPackByte(const SignPackArgs& args, int32_t channel, int32_t count) {
  const __m256i lanes = LaneMask(count);
  const __m256 threshold = args.per_channel != 0
                               ? _mm256_maskload_ps(args.thresholds + channel, lanes)
                               : _mm256_set1_ps(args.thresholds[0]);
  const uint32_t keep = (uint32_t{1} << count) - 1;
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  const float* src = args.src + channel;
  uint8_t* dst = args.dst + channel / 8;
  for (int32_t p = 0; p < args.pixels; ++p, src += args.src_pixel, dst += args.dst_pixel) {
    const uint32_t bits = BelowBits(_mm256_maskload_ps(src, lanes), threshold);
    *dst = static_cast<uint8_t>((bits & keep) ^ invert);
  }
}

// Up to 8 channels of 32 pixels, or of the first `pixels` when kPart, a bit a channel; bytes in the
// order that packs leaves: pixels 0 to 3, 8 to 11, 16 to 19, 24 to 27, then those between.
template <bool kPart>
inline __m256i TileBytes(const float* src, int64_t src_channel, const float* threshold,
                         int64_t threshold_step, int32_t count, int32_t pixels) {
  __m256i bytes = _mm256_setzero_si256();
  __m256i bit = _mm256_set1_epi8(1);
  for (int32_t c = 0; c < count; ++c, src += src_channel, threshold += threshold_step) {
    const __m256 same = _mm256_broadcast_ss(threshold);
    __m256i words[4];
    for (int i = 0; i < 4; ++i) {
      const float* const at = src + i * kLanes;
      const __m256 values =
          kPart ? _mm256_maskload_ps(at, LaneMask(pixels - i * kLanes)) : _mm256_loadu_ps(at);
      words[i] = _mm256_castps_si256(_mm256_cmp_ps(same, values, _CMP_NLE_UQ));
    }
    const __m256i below = _mm256_packs_epi16(_mm256_packs_epi32(words[0], words[1]),
                                             _mm256_packs_epi32(words[2], words[3]));
    bytes = _mm256_or_si256(bytes, _mm256_and_si256(below, bit));
    bit = _mm256_add_epi8(bit, bit);
  }
  return bytes;
}

// 8 channels or fewer of all pixels, one by one.
void SignPackScalar(const SignPackArgs& args, int32_t channel, int32_t count) {
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  for (int32_t p = 0; p < args.pixels; ++p) {
    const float* src = args.src + p * args.src_pixel + channel * args.src_channel;
    uint32_t bits = 0;
    for (int32_t i = 0; i < count; ++i) {
      const float threshold = args.thresholds[args.per_channel != 0 ? channel + i : 0];
      bits |= static_cast<uint32_t>(!(LoadFloat(src + i * args.src_channel) >= threshold)) << i;
    }
    args.dst[p * args.dst_pixel + channel / 8] = static_cast<uint8_t>(bits ^ invert);
  }
}

// Up to 64 channels of 32 pixels from `pixel` on, or of `pixels` of them when kPart.
template <bool kPart>
void SignPackTile(const SignPackArgs& args, int32_t channel, int32_t count, uint64_t invert,
                  int32_t pixel, int32_t pixels) {
  const int64_t step = args.per_channel != 0 ? 1 : 0;
  __m256i bytes[8];
  for (int32_t i = 0; i < 8; ++i) {
    const int32_t first = channel + i * kLanes;
    bytes[i] = TileBytes<kPart>(args.src + pixel + first * args.src_channel, args.src_channel,
                                args.thresholds + first * step, step,
                                Smaller(count - i * kLanes, kLanes), pixels);
  }
  uint64_t words[kTilePixels];
  JoinBytes(bytes, kLanes, kLanes / 2, words);
  const int64_t dst_pixel = args.dst_pixel;
  uint8_t* dst = args.dst + pixel * dst_pixel + channel / 8;
  for (int32_t p = 0; p < pixels; ++p, dst += dst_pixel) {
    StoreBytes(dst, words[p] ^ invert, (count + 7) / 8);
  }
}

// Up to 64 channels of all pixels, pixels innermost. The last tile ends at the last pixel; what it
// shares with the one before is done twice.
void SignPackPlanes(const SignPackArgs& args, int32_t channel, int32_t count) {
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  if (args.pixels < kTilePixels) {
    SignPackTile<true>(args, channel, count, invert, 0, args.pixels);
    return;
  }
  int32_t p = 0;
  for (; p + kTilePixels <= args.pixels; p += kTilePixels) {
    SignPackTile<false>(args, channel, count, invert, p, kTilePixels);
  }
  if (p == args.pixels) return;
  SignPackTile<false>(args, channel, count, invert, args.pixels - kTilePixels, kTilePixels);
}

struct Quantizer {
  __m256 scale, inverse, offset, low, top;
  __m256i shift;
  bool exact;  // the inverse is
};

// Powers of two that have an ordinary inverse.
inline bool HasExactInverse(float scale) {
  uint32_t bits;
  memcpy(&bits, &scale, sizeof(bits));
  return (bits & ((uint32_t{1} << 23) - 1)) == 0 && scale > 1e-30F && scale < 1e30F;
}

inline Quantizer MakeQuantizer(const QuantPackArgs& args) {
  return {_mm256_set1_ps(args.scale),
          _mm256_set1_ps(1.0F / args.scale),
          _mm256_set1_ps(args.offset),
          _mm256_set1_ps(static_cast<float>(-args.shift)),
          _mm256_set1_ps(static_cast<float>(args.levels - 1 - args.shift)),
          _mm256_set1_epi32(args.shift),
          HasExactInverse(args.scale)};
}

// Codes as 32-bit numbers. vmaxps gives its second operand for not a number.
inline __m256i Codes(__m256 values, const Quantizer& quantizer) {
  const __m256 quotient = quantizer.exact ? _mm256_mul_ps(values, quantizer.inverse)
                                          : _mm256_div_ps(values, quantizer.scale);
  const __m256 scaled = _mm256_add_ps(quotient, quantizer.offset);
  const __m256 clamped = _mm256_min_ps(_mm256_max_ps(scaled, quantizer.low), quantizer.top);
  return _mm256_add_epi32(_mm256_cvtps_epi32(clamped), quantizer.shift);
}

// The low bytes of 8 numbers of 32 bits.
inline uint64_t NarrowCodes(__m256i codes) {
  const __m256i words = _mm256_packus_epi32(codes, codes);
  const __m256i bytes = _mm256_packus_epi16(words, words);
  const __m256i joined =
      _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm256_castsi256_si128(joined)));
}

void QuantPackPixel(const QuantPackArgs& args, const Quantizer& quantizer, const float* src,
                    uint8_t* dst) {
  int32_t c = 0;
  for (; c + 4 * kLanes <= args.channels; c += 4 * kLanes) {
    const __m256i low = _mm256_packus_epi32(Codes(_mm256_loadu_ps(src + c), quantizer),
                                            Codes(_mm256_loadu_ps(src + c + 8), quantizer));
    const __m256i high = _mm256_packus_epi32(Codes(_mm256_loadu_ps(src + c + 16), quantizer),
                                             Codes(_mm256_loadu_ps(src + c + 24), quantizer));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high),
                                                      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + c), bytes);
  }
  for (; c + kLanes <= args.channels; c += kLanes) {
    const uint64_t bytes = NarrowCodes(Codes(_mm256_loadu_ps(src + c), quantizer));
    memcpy(dst + c, &bytes, sizeof(bytes));
  }
  if (c < args.channels) {
    const __m256 values = _mm256_maskload_ps(src + c, LaneMask(args.channels - c));
    StoreBytes(dst + c, NarrowCodes(Codes(values, quantizer)), args.channels - c);
  }
}

// Up to 4 channels of 8 pixels or fewer: a pixel's codes meet in one 32-bit lane.
void QuantPackLanes(const QuantPackArgs& args, const Quantizer& quantizer, int32_t pixel,
                    int32_t pixels, int32_t channel, int32_t count) {
  const __m256i lanes = LaneMask(pixels);
  __m256i joined = _mm256_setzero_si256();
  for (int32_t i = 0; i < count; ++i) {
    const float* src = args.src + pixel + (channel + i) * args.src_channel;
    const __m256i codes = Codes(_mm256_maskload_ps(src, lanes), quantizer);
    joined = _mm256_or_si256(joined, _mm256_sllv_epi32(codes, _mm256_set1_epi32(8 * i)));
  }
  alignas(32) uint32_t words[kLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), joined);
  for (int32_t p = 0; p < pixels; ++p) {
    uint8_t* dst = args.dst + (pixel + p) * args.dst_pixel + channel;
    if (count == kQuadChannels) {
      memcpy(dst, &words[p], sizeof(words[p]));
    } else {
      StoreBytes(dst, words[p], count);
    }
  }
}

void QuantPackScalar(const QuantPackArgs& args, const Quantizer& quantizer) {
  for (int32_t p = 0; p < args.pixels; ++p) {
    for (int32_t c = 0; c < args.channels; ++c) {
      const __m256 value =
          _mm256_set1_ps(LoadFloat(args.src + p * args.src_pixel + c * args.src_channel));
      args.dst[p * args.dst_pixel + c] =
          static_cast<uint8_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(Codes(value, quantizer))));
    }
  }
}

}  // namespace

void SignPackAvx2(const SignPackArgs& args) {
  int32_t c = 0;
  if (args.src_channel != 1 && args.src_pixel == 1) {
    for (; c < args.channels; c += kWordChannels) {
      SignPackPlanes(args, c, Smaller(args.channels - c, kWordChannels));
    }
    return;
  }
  if (args.src_channel == 1) {
    for (; c + 8 * kLanes <= args.channels; c += 8 * kLanes) SignPackQuads<2>(args, c);
    for (; c + 4 * kLanes <= args.channels; c += 4 * kLanes) SignPackQuads<1>(args, c);
  }
  for (; c < args.channels; c += kLanes) {
    const int32_t count = Smaller(args.channels - c, kLanes);
    if (args.src_channel == 1) {
      SignPackByte(args, c, count);
    } else {
      SignPackScalar(args, c, count);
    }
  }
}

void QuantPackAvx2(const QuantPackArgs& args) {
  const Quantizer quantizer = MakeQuantizer(args);
  if (args.src_channel == 1) {
    for (int32_t p = 0; p < args.pixels; ++p) {
      QuantPackPixel(args, quantizer, args.src + p * args.src_pixel, args.dst + p * args.dst_pixel);
    }
  } else if (args.src_pixel == 1) {
    for (int32_t p = 0; p < args.pixels; p += kLanes) {
      for (int32_t c = 0; c < args.channels; c += kQuadChannels) {
        QuantPackLanes(args, quantizer, p, Smaller(args.pixels - p, kLanes), c,
                       Smaller(args.channels - c, kQuadChannels));
      }
    }
  } else {
    QuantPackScalar(args, quantizer);
  }
}

}  // namespace bitmill
