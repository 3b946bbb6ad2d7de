// Memory-bound: 64 bytes of floats a comparison, whose mask is 16 finished bits.
//
// Channels innermost (src_channel 1): masks are stored as they come. Pixels innermost (src_pixel
// 1): 16 pixels are the lanes of a vector and 32 channels the bits of a lane, set under the mask of
// each comparison. Other strides go one by one.
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
constexpr int32_t kWordChannels = 32;  // of a lane when pixels are innermost
constexpr int32_t kQuadChannels = 4;   // whose codes share a lane

inline int32_t Smaller(int32_t a, int32_t b) { return a < b ? a : b; }

inline __mmask16 FirstLanes(int32_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : (1 << count) - 1);
}

// Bit i set: channel first + i is inverted.
uint32_t InvertBits(const SignPackArgs& args, int32_t first, int32_t count) {
  if (args.invert == nullptr) return 0;
  if (args.per_channel == 0) {
    return args.invert[0] != 0 ? static_cast<uint32_t>((uint64_t{1} << count) - 1) : 0;
  }
  uint32_t bits = 0;
  for (int32_t i = 0; i < count; ++i) {
    bits |= static_cast<uint32_t>(args.invert[first + i] != 0) << i;
  }
  return bits;
}

inline void StoreBytes(uint8_t* dst, uint32_t bits, int32_t bytes) {
  for (int32_t i = 0; i < bytes; ++i) dst[i] = static_cast<uint8_t>(bits >> (8 * i));
}

// Up to 16 channels of all pixels, channels innermost.
void SignPackRow(const SignPackArgs& args, int32_t channel, int32_t count) {
  const __mmask16 lanes = FirstLanes(count);
  const __m512 threshold = args.per_channel != 0
                               ? _mm512_maskz_loadu_ps(lanes, args.thresholds + channel)
                               : _mm512_set1_ps(args.thresholds[0]);
  const uint32_t invert = InvertBits(args, channel, count);
  const float* src = args.src + channel;
  uint8_t* dst = args.dst + channel / 8;
  for (int32_t p = 0; p < args.pixels; ++p, src += args.src_pixel, dst += args.dst_pixel) {
    const __m512 values = _mm512_maskz_loadu_ps(lanes, src);
    const uint32_t below = _mm512_cmp_ps_mask(values, threshold, _CMP_NGE_UQ) & lanes;
    const uint16_t bits = static_cast<uint16_t>(below ^ invert);
    if (count > 8) {
      memcpy(dst, &bits, sizeof(bits));
    } else {
      *dst = static_cast<uint8_t>(bits);
    }
  }
}

// 64 channels of all pixels, channels innermost.
void SignPackWord(const SignPackArgs& args, int32_t channel) {
  __m512 thresholds[4];
  for (int i = 0; i < 4; ++i) {
    thresholds[i] = args.per_channel != 0 ? _mm512_loadu_ps(args.thresholds + channel + i * kLanes)
                                          : _mm512_set1_ps(args.thresholds[0]);
  }
  const uint64_t invert =
      uint64_t{InvertBits(args, channel, 32)} | uint64_t{InvertBits(args, channel + 32, 32)} << 32;
  const float* src = args.src + channel;
  uint8_t* dst = args.dst + channel / 8;
  for (int32_t p = 0; p < args.pixels; ++p, src += args.src_pixel, dst += args.dst_pixel) {
    uint64_t bits = 0;
    for (int i = 0; i < 4; ++i) {
      const __m512 values = _mm512_loadu_ps(src + i * kLanes);
      const uint64_t below = _mm512_cmp_ps_mask(values, thresholds[i], _CMP_NGE_UQ);
      bits |= below << (i * kLanes);
    }
    bits ^= invert;
    memcpy(dst, &bits, sizeof(bits));
  }
}

// Up to 32 channels of all pixels, pixels innermost.
void SignPackPlanes(const SignPackArgs& args, int32_t channel, int32_t count) {
  const __m512i invert = _mm512_set1_epi32(static_cast<int>(InvertBits(args, channel, count)));
  for (int32_t p = 0; p < args.pixels; p += kLanes) {
    const int32_t pixels = Smaller(args.pixels - p, kLanes);
    const __mmask16 lanes = FirstLanes(pixels);
    __m512i words = _mm512_setzero_si512();
    for (int32_t i = 0; i < count; ++i) {
      const float* src = args.src + p + (channel + i) * args.src_channel;
      const __m512 threshold =
          _mm512_set1_ps(args.thresholds[args.per_channel != 0 ? channel + i : 0]);
      const __mmask16 below = static_cast<__mmask16>(
          _mm512_cmp_ps_mask(_mm512_maskz_loadu_ps(lanes, src), threshold, _CMP_NGE_UQ));
      const __m512i bit = _mm512_set1_epi32(static_cast<int>(uint32_t{1} << i));
      words = _mm512_mask_or_epi32(words, below, words, bit);
    }
    alignas(64) uint32_t bits[kLanes];
    _mm512_store_si512(bits, _mm512_xor_si512(words, invert));
    for (int32_t i = 0; i < pixels; ++i) {
      uint8_t* dst = args.dst + (p + i) * args.dst_pixel + channel / 8;
      if (count > 24) {
        memcpy(dst, &bits[i], sizeof(bits[i]));
      } else {
        StoreBytes(dst, bits[i], (count + 7) / 8);
      }
    }
  }
}

// Up to 8 channels of all pixels, one by one.
void SignPackScalar(const SignPackArgs& args, int32_t channel, int32_t count) {
  const uint32_t invert = InvertBits(args, channel, count);
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
  __m512 scale, offset, top;
};

// Codes as 32-bit numbers. vmaxps gives its second operand, zero, for not a number.
inline __m512i Codes(__m512 values, const Quantizer& quantizer) {
  const __m512 scaled = _mm512_add_ps(_mm512_div_ps(values, quantizer.scale), quantizer.offset);
  const __m512 from_zero = _mm512_max_ps(scaled, _mm512_setzero_ps());
  return _mm512_cvtps_epi32(_mm512_min_ps(from_zero, quantizer.top));
}

void QuantPackPixel(const QuantPackArgs& args, const Quantizer& quantizer, const float* src,
                    uint8_t* dst) {
  for (int32_t c = 0; c < args.channels; c += kLanes) {
    const __mmask16 lanes = FirstLanes(args.channels - c);
    const __m512i codes = Codes(_mm512_maskz_loadu_ps(lanes, src + c), quantizer);
    _mm_mask_storeu_epi8(dst + c, lanes, _mm512_cvtepi32_epi8(codes));
  }
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
  alignas(64) uint32_t words[kLanes];
  _mm512_store_si512(words, joined);
  for (int32_t p = 0; p < pixels; ++p) {
    uint8_t* dst = args.dst + (pixel + p) * args.dst_pixel + channel;
    if (count == kQuadChannels) {
      memcpy(dst, &words[p], sizeof(words[p]));
    } else {
      StoreBytes(dst, words[p], count);
    }
  }
}

}  // namespace

void SignPackAvx512(const SignPackArgs& args) {
  int32_t c = 0;
  if (args.src_channel == 1) {
    for (; c + 4 * kLanes <= args.channels; c += 4 * kLanes) SignPackWord(args, c);
    for (; c < args.channels; c += kLanes) {
      SignPackRow(args, c, Smaller(args.channels - c, kLanes));
    }
  } else if (args.src_pixel == 1) {
    for (; c < args.channels; c += kWordChannels) {
      SignPackPlanes(args, c, Smaller(args.channels - c, kWordChannels));
    }
  } else {
    for (; c < args.channels; c += 8) SignPackScalar(args, c, Smaller(args.channels - c, 8));
  }
}

void QuantPackAvx512(const QuantPackArgs& args) {
  const Quantizer quantizer = {_mm512_set1_ps(args.scale), _mm512_set1_ps(args.offset),
                               _mm512_set1_ps(static_cast<float>(args.levels - 1))};
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
