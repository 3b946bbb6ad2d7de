// Stands in for the compiler's header when AVX-512 files are built for machines without it: the
// intrinsics up to AVX2 are the compiler's, those of AVX-512 are SIMDe's, and the few that SIMDe
// lacks (or names wrongly) are below, element by element.
#pragma once

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace bitmill_emulated {

template <typename Element, typename Vector, typename Mask>
inline Vector MaskzLoad(Mask mask, const void* source) {
  constexpr int kLanes = sizeof(Vector) / sizeof(Element);
  Element lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    lanes[i] = Element{0};
    if ((mask >> i & 1) != 0) {
      memcpy(&lanes[i], static_cast<const char*>(source) + i * sizeof(Element), sizeof(Element));
    }
  }
  Vector vector;
  memcpy(&vector, lanes, sizeof(vector));
  return vector;
}

template <typename Element, typename Vector, typename Mask>
inline void MaskStore(void* target, Mask mask, Vector vector) {
  constexpr int kLanes = sizeof(Vector) / sizeof(Element);
  Element lanes[kLanes];
  memcpy(lanes, &vector, sizeof(vector));
  for (int i = 0; i < kLanes; ++i) {
    if ((mask >> i & 1) != 0) {
      memcpy(static_cast<char*>(target) + i * sizeof(Element), &lanes[i], sizeof(Element));
    }
  }
}

template <typename To, typename From, typename Result, typename Vector, typename Convert>
inline Result ConvertLanes(Vector vector, Convert convert) {
  constexpr int kLanes = sizeof(Vector) / sizeof(From);
  From from[kLanes];
  To to[kLanes];
  memcpy(from, &vector, sizeof(vector));
  for (int i = 0; i < kLanes; ++i) to[i] = convert(from[i]);
  Result result;
  static_assert(sizeof(result) == sizeof(to));
  memcpy(&result, to, sizeof(result));
  return result;
}

// clang takes SIMDe's count for an immediate; a loop's variable is one only after unrolling.
inline __m512i ShiftWordsRight(__m512i words, unsigned count) {
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(count));
  __m256i halves[2];
  memcpy(halves, &words, sizeof(halves));
  for (__m256i& half : halves) half = _mm256_srl_epi16(half, shift);
  memcpy(&words, halves, sizeof(halves));
  return words;
}

inline __m512i ToInts(__m512 floats) {
  return ConvertLanes<int32_t, float, __m512i>(
      floats, [](float value) { return static_cast<int32_t>(nearbyintf(value)); });
}

inline __m512 ToFloats(__m512i ints) {
  return ConvertLanes<float, int32_t, __m512>(
      ints, [](int32_t value) { return static_cast<float>(value); });
}

inline __m128i ToBytes(__m512i ints) {
  return ConvertLanes<uint8_t, int32_t, __m128i>(
      ints, [](int32_t value) { return static_cast<uint8_t>(value); });
}

template <typename Mask, typename Element, typename Vector, typename Holds>
inline Mask CompareLanes(Vector a, Vector b, Holds holds) {
  constexpr int kLanes = sizeof(Vector) / sizeof(Element);
  Element left[kLanes], right[kLanes];
  memcpy(left, &a, sizeof(a));
  memcpy(right, &b, sizeof(b));
  Mask mask = 0;
  for (int i = 0; i < kLanes; ++i) {
    if (holds(left[i], right[i])) mask = static_cast<Mask>(mask | Mask{1} << i);
  }
  return mask;
}

// Eight tiles of 16 rows of 64 bytes, the only shape that kernels configure.
inline thread_local uint8_t tiles[8][16][64];

inline void TileLoad(int tile, const void* source, int64_t stride) {
  for (int row = 0; row < 16; ++row) {
    memcpy(tiles[tile][row], static_cast<const char*>(source) + row * stride, 64);
  }
}

inline void TileStore(int tile, void* target, int64_t stride) {
  for (int row = 0; row < 16; ++row) {
    memcpy(static_cast<char*>(target) + row * stride, tiles[tile][row], 64);
  }
}

// sums[m][n] += a[m][4k + i] (unsigned) * b[k][4n + i] (signed), over all k and i.
inline void TileProduct(int sums, int a, int b) {
  for (int m = 0; m < 16; ++m) {
    int32_t row[16];
    memcpy(row, tiles[sums][m], sizeof(row));
    for (int k = 0; k < 16; ++k) {
      const uint8_t* const four = tiles[a][m] + 4 * k;
      for (int n = 0; n < 16; ++n) {
        for (int i = 0; i < 4; ++i) row[n] += four[i] * static_cast<int8_t>(tiles[b][k][4 * n + i]);
      }
    }
    memcpy(tiles[sums][m], row, sizeof(row));
  }
}

// 16 numbers of 16 bits, 32 bytes, to 32 bits.
inline __m512i FromWords(__m256i words) {
  uint16_t from[16];
  int32_t to[16];
  memcpy(from, &words, sizeof(words));
  for (int i = 0; i < 16; ++i) to[i] = from[i];
  __m512i result;
  memcpy(&result, to, sizeof(result));
  return result;
}

// Quarters of `a`, then of `b`, which two bits of `order` name each.
inline __m512 ShuffleQuarters(__m512 a, __m512 b, int order) {
  float from[2][16], to[16];
  memcpy(from[0], &a, sizeof(from[0]));
  memcpy(from[1], &b, sizeof(from[1]));
  for (int q = 0; q < 4; ++q) {
    memcpy(to + 4 * q, from[q / 2] + 4 * (order >> (2 * q) & 3), 4 * sizeof(float));
  }
  __m512 result;
  memcpy(&result, to, sizeof(result));
  return result;
}

// Products of a matrix of 8 x 8 bits (in every 8 bytes of `matrices` one) and bytes, modulo 2: bit
// i of a byte is the parity of the byte and row i, which is byte 7 - i of the matrix.
inline __m512i TransformBits(__m512i vector, __m512i matrices, int complement) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  uint64_t bytes[8], matrix[8];
  memcpy(bytes, &vector, sizeof(bytes));
  memcpy(matrix, &matrices, sizeof(matrix));
  for (int group = 0; group < 8; ++group) {
    uint64_t result = kOnes * static_cast<uint64_t>(complement);
    for (int bit = 0; bit < 8; ++bit) {
      for (uint64_t row = matrix[group] >> (8 * (7 - bit)) & 0xff; row != 0; row &= row - 1) {
        result ^= (bytes[group] >> __builtin_ctzll(row) & kOnes) << bit;
      }
    }
    bytes[group] = result;
  }
  memcpy(&vector, bytes, sizeof(bytes));
  return vector;
}

}  // namespace bitmill_emulated

#undef _mm512_srli_epi16
#define _mm512_srli_epi16(v, count) bitmill_emulated::ShiftWordsRight(v, count)
#define _mm512_maskz_loadu_ps(k, p) bitmill_emulated::MaskzLoad<float, __m512>(k, p)
#define _mm512_maskz_loadu_epi32(k, p) bitmill_emulated::MaskzLoad<int32_t, __m512i>(k, p)
#define _mm512_maskz_loadu_epi8(k, p) bitmill_emulated::MaskzLoad<uint8_t, __m512i>(k, p)
#define _mm512_maskz_loadu_epi16(k, p) bitmill_emulated::MaskzLoad<uint16_t, __m512i>(k, p)
#define _mm512_mask_storeu_epi8(p, k, v) bitmill_emulated::MaskStore<uint8_t>(p, k, v)
#define _mm_mask_storeu_epi8(p, k, v) bitmill_emulated::MaskStore<uint8_t>(p, k, v)
#define _mm512_mask_storeu_epi32(p, k, v) bitmill_emulated::MaskStore<int32_t>(p, k, v)
#undef _mm512_gf2p8affine_epi64_epi8
#define _mm512_gf2p8affine_epi64_epi8(v, m, c) bitmill_emulated::TransformBits(v, m, c)
#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32(s, a, b) simde_mm256_dpbusd_epi32(s, a, b)
#define _mm512_cvtepu16_epi32(v) bitmill_emulated::FromWords(v)
#define _mm512_cvtps_epi32(v) bitmill_emulated::ToInts(v)
#define _mm512_cvtepi32_ps(v) bitmill_emulated::ToFloats(v)
#define _mm512_cvtepi32_epi8(v) bitmill_emulated::ToBytes(v)
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4(a, b, order) bitmill_emulated::ShuffleQuarters(a, b, order)
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#define _mm512_mask_storeu_ps(p, k, v) bitmill_emulated::MaskStore<float>(p, k, v)
#define _mm512_mask_storeu_epi32(p, k, v) bitmill_emulated::MaskStore<int32_t>(p, k, v)

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#define _tile_loadconfig(p) static_cast<void>(p)
#define _tile_release() memset(bitmill_emulated::tiles, 0xa5, sizeof(bitmill_emulated::tiles))
#define _tile_zero(t) memset(bitmill_emulated::tiles[t], 0, sizeof(bitmill_emulated::tiles[t]))
#define _tile_loadd(t, p, stride) bitmill_emulated::TileLoad(t, p, stride)
#define _tile_stored(t, p, stride) bitmill_emulated::TileStore(t, p, stride)
#define _tile_dpbusd(c, a, b) bitmill_emulated::TileProduct(c, a, b)
