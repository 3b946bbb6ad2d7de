// Memory-bound: 64 bytes of floats a comparison, whose mask is 16 finished bits.
//
// Channels innermost (src_channel 1): masks are stored as they come. Pixels innermost (src_pixel
// 1): 16 pixels are the lanes of a vector and 32 channels the bits of a lane, set under the mask of
// each comparison; two such vectors make the words of 64 channels. One comparison a cycle binds:
// 64 bytes. Other strides go one by one.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/pack/pack.h"

namespace bitmill {

void SignPackAvx512(const SignPackArgs& args);
void QuantPackAvx512(const QuantPackArgs& args);

namespace {

// The source may have any alignment.
float LoadFloat(const float* from) {
  float value;
  memcpy(&value, from, sizeof(value));
  return value;
}

constexpr int32_t kLanes = 16;
constexpr int32_t kWordChannels = 64;  // of a store
constexpr int32_t kQuadChannels = 4;   // whose codes share a lane

inline int32_t Smaller(int32_t a, int32_t b) { return a < b ? a : b; }

inline __mmask16 FirstLanes(int32_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : (1 << count) - 1);
}

// Bit i set: channel first + i is inverted; up to 64 channels.
uint64_t InvertBits(const SignPackArgs& args, int32_t first, int32_t count) {
  if (args.invert == nullptr) return 0;
  if (args.per_channel == 0) return args.invert[0] != 0 ? ~uint64_t{0} >> (64 - count) : 0;
  uint64_t bits = 0;
  for (int32_t i = 0; i < count; ++i) {
    bits |= uint64_t{args.invert[first + i] != 0} << i;
  }
  return bits;
}

// The low `bytes` bytes, at most 8.
inline void StoreBytes(uint8_t* dst, uint64_t bits, int32_t bytes) {
  if (bytes == 8) {
    memcpy(dst, &bits, 8);
    return;
  }
  if ((bytes & 4) != 0) {
    memcpy(dst, &bits, 4);
    dst += 4;
    bits >>= 32;
  }
  if ((bytes & 2) != 0) {
    memcpy(dst, &bits, 2);
    dst += 2;
    bits >>= 16;
  }
  if ((bytes & 1) != 0) *dst = static_cast<uint8_t>(bits);
}

// Not at least the threshold; in this order the values may come straight from memory.
inline __mmask16 Below(__m512 values, __m512 threshold) {
  return _mm512_cmp_ps_mask(threshold, values, _CMP_NLE_UQ);
}

// Blocks of 64 channels of all pixels, channels innermost. Thresholds stay in registers.
template <int kBlocks>
void SignPackWords(const SignPackArgs& args, int32_t channel) {
  __m512 thresholds[kBlocks * 4];
  for (int i = 0; i < kBlocks * 4; ++i) {
    thresholds[i] = args.per_channel != 0 ? _mm512_loadu_ps(args.thresholds + channel + i * kLanes)
                                          : _mm512_set1_ps(args.thresholds[0]);
  }
  uint64_t inverts[kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    inverts[i] = InvertBits(args, channel + i * kWordChannels, kWordChannels);
  }
  const float* src = args.src + channel;
  uint8_t* dst = args.dst + channel / 8;
  const int64_t src_pixel = args.src_pixel, dst_pixel = args.dst_pixel;
  for (int32_t left = args.pixels; left > 0; --left, src += src_pixel, dst += dst_pixel) {
    for (int block = 0; block < kBlocks; ++block) {
      uint64_t bits = 0;
      for (int i = block * 4; i < block * 4 + 4; ++i) {
        const uint64_t below = Below(_mm512_loadu_ps(src + i * kLanes), thresholds[i]);
        bits |= below << (i % 4 * kLanes);
      }
      bits ^= inverts[block];
      memcpy(dst + block * sizeof(bits), &bits, sizeof(bits));
    }
  }
}

// Up to 16 channels of all pixels, channels innermost.
void SignPackRow(const SignPackArgs& args, int32_t channel, int32_t count) {
  const __mmask16 lanes = FirstLanes(count);
  const __m512 threshold = args.per_channel != 0
                               ? _mm512_maskz_loadu_ps(lanes, args.thresholds + channel)
                               : _mm512_set1_ps(args.thresholds[0]);
  const uint32_t invert = static_cast<uint32_t>(InvertBits(args, channel, count));
  const float* src = args.src + channel;
  uint8_t* dst = args.dst + channel / 8;
  for (int32_t p = 0; p < args.pixels; ++p, src += args.src_pixel, dst += args.dst_pixel) {
    const uint32_t below = Below(_mm512_maskz_loadu_ps(lanes, src), threshold) & lanes;
    const uint16_t bits = static_cast<uint16_t>(below ^ invert);
    if (count > 8) {
      memcpy(dst, &bits, sizeof(bits));
    } else {
      *dst = static_cast<uint8_t>(bits);
    }
  }
}

void SignPackChannelsInner(const SignPackArgs& args) {
  int32_t c = 0;
  for (; c + 2 * kWordChannels <= args.channels; c += 2 * kWordChannels) SignPackWords<2>(args, c);
  for (; c + kWordChannels <= args.channels; c += kWordChannels) SignPackWords<1>(args, c);
  for (; c < args.channels; c += kLanes) {
    SignPackRow(args, c, Smaller(args.channels - c, kLanes));
  }
}

// A tile of pixels, 16 a vector, and up to 64 channels, pixels innermost.
struct Tile {
  const float* src;         // first pixel of the first channel
  const float* thresholds;  // of the first channel
  int64_t threshold_step;   // 0 or 1
  __mmask16 lanes;          // that are loaded; all where there are more vectors than one
};

// Bits of `count` (at most 32) channels from `first` on in the lanes of their pixels; kCount: the
// same number, or 0. Unrolled as the end of a loop costs as much as six channels.
template <int kVectors, int kCount>
inline void TileBits(const Tile& tile, int64_t src_channel, int32_t first, int32_t count,
                     __m512i* words) {
  for (int v = 0; v < kVectors; ++v) words[v] = _mm512_setzero_si512();
  const float* src = tile.src + first * src_channel;
  const float* threshold = tile.thresholds + first * tile.threshold_step;
  const int32_t end = kCount > 0 ? kCount : count;
  __m512i bit = _mm512_set1_epi32(1);
#pragma GCC unroll 8
  for (int32_t i = 0; i < end; ++i) {
    const __m512 same = _mm512_set1_ps(*threshold);
    for (int v = 0; v < kVectors; ++v) {
      const float* const at = src + v * kLanes;
      const __m512 values =
          kVectors > 1 ? _mm512_loadu_ps(at) : _mm512_maskz_loadu_ps(tile.lanes, at);
      words[v] = _mm512_mask_or_epi32(words[v], Below(values, same), words[v], bit);
    }
    bit = _mm512_add_epi32(bit, bit);
    src += src_channel;
    threshold += tile.threshold_step;
  }
}

// `pixels` pixels from `pixel` on: at most kVectors * 16, just as many where that is more than 16.
// kFull: of 64 channels.
template <int kVectors, bool kFull>
void SignPackTile(const SignPackArgs& args, int32_t channel, int32_t count, uint64_t invert,
                  int32_t pixel, int32_t pixels) {
  const int64_t step = args.per_channel != 0 ? 1 : 0;
  const Tile tile = {args.src + pixel + channel * args.src_channel,
                     args.thresholds + channel * step, step, FirstLanes(pixels)};
  const int32_t low_count = Smaller(count, 32);
  __m512i low[kVectors], high[kVectors];
  TileBits<kVectors, kFull ? 32 : 0>(tile, args.src_channel, 0, low_count, low);
  TileBits<kVectors, kFull ? 32 : 0>(tile, args.src_channel, 32, count - low_count, high);
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second =
      _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  const __m512i inverts = _mm512_set1_epi64(static_cast<long long>(invert));
  alignas(64) uint64_t bits[kVectors * kLanes];
  for (int v = 0; v < kVectors; ++v) {
    const __m512i a = _mm512_permutex2var_epi32(low[v], first, high[v]);
    const __m512i b = _mm512_permutex2var_epi32(low[v], second, high[v]);
    _mm512_store_si512(bits + v * kLanes, _mm512_xor_si512(a, inverts));
    _mm512_store_si512(bits + v * kLanes + kLanes / 2, _mm512_xor_si512(b, inverts));
  }
  const int64_t dst_pixel = args.dst_pixel;
  uint8_t* dst = args.dst + pixel * dst_pixel + channel / 8;
  if (kFull && kVectors > 1) {
#pragma GCC unroll 16
    for (int p = 0; p < kVectors * kLanes; ++p) {
      memcpy(dst + p * dst_pixel, &bits[p], sizeof(bits[p]));
    }
    return;
  }
  for (int32_t p = 0; p < pixels; ++p, dst += dst_pixel) {
    StoreBytes(dst, bits[p], (count + 7) / 8);
  }
}

// Up to 64 channels of all pixels, pixels innermost. The last tile ends at the last pixel; what it
// shares with the one before is done twice.
template <bool kFull>
void SignPackPlanes(const SignPackArgs& args, int32_t channel, int32_t count) {
  constexpr int32_t kTilePixels = 2 * kLanes;
  const uint64_t invert = InvertBits(args, channel, count);
  int32_t p = 0;
  for (; p + kTilePixels <= args.pixels; p += kTilePixels) {
    SignPackTile<2, kFull>(args, channel, count, invert, p, kTilePixels);
  }
  if (p > 0 && args.pixels - p > kLanes) {
    p = args.pixels - kTilePixels;
    SignPackTile<2, kFull>(args, channel, count, invert, p, kTilePixels);
    return;
  }
  for (; p < args.pixels; p += kLanes) {
    SignPackTile<1, kFull>(args, channel, count, invert, p, Smaller(args.pixels - p, kLanes));
  }
}

// Up to 8 channels of all pixels, one by one.
void SignPackScalar(const SignPackArgs& args, int32_t channel, int32_t count) {
  const uint64_t invert = InvertBits(args, channel, count);
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

struct Quantizer {
  __m512 scale, inverse, offset, low, top;
  __m512i shift;
  bool exact;     // the inverse is: scale is a power of two
  bool ordinary;  // see Codes()
};

Quantizer QuantizerOf(const QuantPackArgs& args) {
  Quantizer quantizer;
  quantizer.scale = _mm512_set1_ps(args.scale);
  quantizer.inverse = _mm512_set1_ps(1.0F / args.scale);
  quantizer.offset = _mm512_set1_ps(args.offset);
  quantizer.low = _mm512_set1_ps(static_cast<float>(-args.shift));
  quantizer.top = _mm512_set1_ps(static_cast<float>(args.levels - 1 - args.shift));
  quantizer.shift = _mm512_set1_epi32(args.shift);
  uint32_t bits;
  memcpy(&bits, &args.scale, sizeof(bits));
  constexpr uint32_t kMantissa = (uint32_t{1} << 23) - 1;
  quantizer.ordinary = args.scale > 1e-30F && args.scale < 1e30F && args.offset >= -1024.0F &&
                       args.offset <= 1024.0F;
  quantizer.exact = quantizer.ordinary && (bits & kMantissa) == 0;
  return quantizer;
}

// vmaxps gives its second operand for not a number.
inline __m512 Clamped(__m512 scaled, const Quantizer& quantizer) {
  return _mm512_min_ps(_mm512_max_ps(scaled, quantizer.low), quantizer.top);
}

// Codes as 32-bit numbers. A division takes as long as ten products. With a product by the inverse
// what is rounded is off by less than 0.0005 where it counts (two roundings more of a number below
// 1,280): only close to the middle between two codes that could be another code. Nothing is off
// with powers of two, whose values often lie in that middle.
inline __m512i Codes(__m512 values, const Quantizer& quantizer) {
  if (quantizer.ordinary) {
    const __m512 scaled = _mm512_add_ps(_mm512_mul_ps(values, quantizer.inverse), quantizer.offset);
    const __m512 clamped = Clamped(scaled, quantizer);
    const __m512i codes = _mm512_cvtps_epi32(clamped);
    if (quantizer.exact) return _mm512_add_epi32(codes, quantizer.shift);
    const __m512 distance = _mm512_abs_ps(_mm512_sub_ps(clamped, _mm512_cvtepi32_ps(codes)));
    if (_mm512_cmp_ps_mask(distance, _mm512_set1_ps(0.499F), _CMP_GT_OQ) == 0) {
      return _mm512_add_epi32(codes, quantizer.shift);
    }
  }
  const __m512 scaled = _mm512_add_ps(_mm512_div_ps(values, quantizer.scale), quantizer.offset);
  return _mm512_add_epi32(_mm512_cvtps_epi32(Clamped(scaled, quantizer)), quantizer.shift);
}

void QuantPackPixel(const QuantPackArgs& args, const Quantizer& quantizer, const float* src,
                    uint8_t* dst) {
  for (int32_t c = 0; c < args.channels; c += kLanes) {
    const __mmask16 lanes = FirstLanes(args.channels - c);
    const __m512i codes = Codes(_mm512_maskz_loadu_ps(lanes, src + c), quantizer);
    _mm_mask_storeu_epi8(dst + c, lanes, _mm512_cvtepi32_epi8(codes));
  }
}

// The first 3 bytes of each of up to 16 lanes, one behind the other.
inline void StoreTriples(__m512i words, int32_t count, uint8_t* dst) {
  const __m512i bytes =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15, 15, 15, 15);
  const __m512i triples = _mm512_permutexvar_epi32(lanes, _mm512_shuffle_epi8(words, bytes));
  _mm512_mask_storeu_epi8(dst, (uint64_t{1} << (3 * count)) - 1, triples);
}

// Up to 4 channels of 16 pixels or fewer, pixels innermost: a pixel's codes meet in one lane.
void QuantPackLanes(const QuantPackArgs& args, const Quantizer& quantizer, int32_t pixel,
                    int32_t pixels, int32_t channel, int32_t count) {
  const __mmask16 lanes = FirstLanes(pixels);
  __m512i joined = _mm512_setzero_si512();
  for (int32_t i = count - 1; i >= 0; --i) {
    const float* src = args.src + pixel + (channel + i) * args.src_channel;
    const __m512i codes = Codes(_mm512_maskz_loadu_ps(lanes, src), quantizer);
    joined = _mm512_or_si512(_mm512_slli_epi32(joined, 8), codes);
  }
  uint8_t* const first = args.dst + pixel * args.dst_pixel + channel;
  if (count == args.dst_pixel && count == kQuadChannels) {
    return _mm512_mask_storeu_epi32(first, lanes, joined);
  }
  if (count == args.dst_pixel && count == 3) return StoreTriples(joined, pixels, first);
  alignas(64) uint32_t words[kLanes];
  _mm512_store_si512(words, joined);
  for (int32_t p = 0; p < pixels; ++p) {
    uint8_t* dst = first + p * args.dst_pixel;
    if (count == kQuadChannels) {
      memcpy(dst, &words[p], sizeof(words[p]));
    } else {
      StoreBytes(dst, words[p], count);
    }
  }
}

}  // namespace

void SignPackAvx512(const SignPackArgs& args) {
  if (args.src_channel == 1) {
    SignPackChannelsInner(args);
  } else if (args.src_pixel == 1) {
    int32_t c = 0;
    for (; c + kWordChannels <= args.channels; c += kWordChannels) {
      SignPackPlanes<true>(args, c, kWordChannels);
    }
    if (c < args.channels) SignPackPlanes<false>(args, c, args.channels - c);
  } else {
    for (int32_t c = 0; c < args.channels; c += 8) {
      SignPackScalar(args, c, Smaller(args.channels - c, 8));
    }
  }
}

void QuantPackAvx512(const QuantPackArgs& args) {
  const Quantizer quantizer = QuantizerOf(args);
  if (args.src_pixel == 1 && args.src_channel != 1) {
    for (int32_t p = 0; p < args.pixels; p += kLanes) {
      for (int32_t c = 0; c < args.channels; c += kQuadChannels) {
        QuantPackLanes(args, quantizer, p, Smaller(args.pixels - p, kLanes), c,
                       Smaller(args.channels - c, kQuadChannels));
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
      const __m512i code = Codes(_mm512_set1_ps(LoadFloat(src + c * args.src_channel)), quantizer);
      dst[c] = static_cast<uint8_t>(_mm_cvtsi128_si32(_mm512_castsi512_si128(code)));
    }
  }
}

}  // namespace bitmill
