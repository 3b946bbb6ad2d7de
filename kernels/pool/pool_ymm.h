// Vectors of 16, 8 and 32 bytes for kernels/pool/pool_loops.h, the same for AVX2 and AVX-512.
// Private to files of these instruction sets; everything is local to the file that includes it.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "kernels/pool/pool_loops.h"

namespace bitmill {
namespace {

// All but the pixels of several.
struct YmmBytes {
  using Type = __m256i;
  static constexpr int64_t kBytes = 32;
  static Type Load(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void Store(uint8_t* p, Type v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Type Xor(Type a, Type b) { return _mm256_xor_si256(a, b); }
  static Type Zero() { return _mm256_setzero_si256(); }
  template <PoolKind kKind>
  static Type Max(Type a, Type b) {
    return kKind == PoolKind::kBits ? _mm256_and_si256(a, b) : _mm256_max_epu8(a, b);
  }
};

struct Xmm {
  using Type = __m128i;
  static constexpr int64_t kBytes = 16;
  static Type Load(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static void Store(uint8_t* p, Type v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
  static Type Xor(Type a, Type b) { return _mm_xor_si128(a, b); }
  static Type Zero() { return _mm_setzero_si128(); }
  template <PoolKind kKind>
  static Type Max(Type a, Type b) {
    return kKind == PoolKind::kBits ? _mm_and_si128(a, b) : _mm_max_epu8(a, b);
  }
  template <int kPixel>
  static Type Even(Type a, Type b) {
    return _mm_unpacklo_epi64(a, b);
  }
  template <int kPixel>
  static Type Odd(Type a, Type b) {
    return _mm_unpackhi_epi64(a, b);
  }
};

struct HalfXmm : Xmm {
  static constexpr int64_t kBytes = 8;
  static Type Load(const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static void Store(uint8_t* p, Type v) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), v); }
};

}  // namespace
}  // namespace bitmill
