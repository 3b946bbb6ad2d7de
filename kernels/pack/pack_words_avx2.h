// Pieces that the AVX2 files of sign and pack share. Local to the file that includes it: see
// kernels/pool/pool_loops.h.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace bitmill {
namespace {

inline int32_t Smaller(int32_t a, int32_t b) { return a < b ? a : b; }

// Bit i set: channel first + i is inverted; up to 64 channels.
inline uint64_t InvertBits(const uint8_t* invert, bool per_channel, int32_t first, int32_t count) {
  if (invert == nullptr) return 0;
  if (!per_channel) return invert[0] != 0 ? ~uint64_t{0} >> (64 - count) : 0;
  uint64_t bits = 0;
  for (int32_t i = 0; i < count; ++i) bits |= uint64_t{invert[first + i] != 0} << i;
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

inline void StoreHalves(__m256i words, uint64_t* low, uint64_t* high) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(low), _mm256_castsi256_si128(words));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(high), _mm256_extracti128_si256(words, 1));
}

// Eight vectors of a byte a pixel become the words of 32 pixels. Byte 4 g + i of the low half of a
// vector is pixel group_pixels * g + i, of the high half that plus half_pixels: 4 and 16 for
// vectors in order.
inline void JoinBytes(const __m256i bytes[8], int32_t group_pixels, int32_t half_pixels,
                      uint64_t words[32]) {
  __m256i pairs[8], quads[8];
  for (int i = 0; i < 4; ++i) {
    pairs[i] = _mm256_unpacklo_epi8(bytes[2 * i], bytes[2 * i + 1]);
    pairs[i + 4] = _mm256_unpackhi_epi8(bytes[2 * i], bytes[2 * i + 1]);
  }
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 2; ++i) {
      const __m256i a = pairs[half * 4 + 2 * i];
      const __m256i b = pairs[half * 4 + 2 * i + 1];
      quads[half * 4 + i] = _mm256_unpacklo_epi16(a, b);
      quads[half * 4 + 2 + i] = _mm256_unpackhi_epi16(a, b);
    }
  }
  // Each pair of vectors: four bytes of the low and of the high channels of four pixels a half.
  for (int group = 0; group < 4; ++group) {
    const __m256i low = _mm256_unpacklo_epi32(quads[group * 2], quads[group * 2 + 1]);
    const __m256i high = _mm256_unpackhi_epi32(quads[group * 2], quads[group * 2 + 1]);
    uint64_t* const first = words + group * group_pixels;
    StoreHalves(low, first, first + half_pixels);
    StoreHalves(high, first + 2, first + half_pixels + 2);
  }
}

}  // namespace
}  // namespace bitmill
