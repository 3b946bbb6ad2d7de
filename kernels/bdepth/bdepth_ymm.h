// Vectors of 4, 2 and 1 words for kernels/bdepth/bdepth_loops.h, as far as AVX2 and AVX-512 do the
// same. Private to files of these instruction sets; everything is local to the file that includes
// it.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace bitmill {
namespace {

struct YmmWords {
  using Type = __m256i;
  static constexpr int64_t kWords = 4;
  static Type Load(const uint64_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void Store(uint64_t* p, Type v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Type And(Type a, Type b) { return _mm256_and_si256(a, b); }
  static Type Or(Type a, Type b) { return _mm256_or_si256(a, b); }
  static Type Xor(Type a, Type b) { return _mm256_xor_si256(a, b); }
};

struct XmmWords {
  using Type = __m128i;
  static constexpr int64_t kWords = 2;
  static Type Load(const uint64_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static void Store(uint64_t* p, Type v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
  static Type And(Type a, Type b) { return _mm_and_si128(a, b); }
  static Type Or(Type a, Type b) { return _mm_or_si128(a, b); }
  static Type Xor(Type a, Type b) { return _mm_xor_si128(a, b); }
};

// The lower word of a vector of two.
template <typename Two>
struct OneWord : Two {
  using Type = typename Two::Type;
  static constexpr int64_t kWords = 1;
  static Type Load(const uint64_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static void Store(uint64_t* p, Type v) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), v); }
};

}  // namespace
}  // namespace bitmill
