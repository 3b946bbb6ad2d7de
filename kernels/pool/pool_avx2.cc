// Loads bind: a 2x2 window over small pixels is 4 loads, 2 ands, 2 shuffles, an and and, for 8-byte
// ones, a permutation for 32 bytes of output (kernels/pool/pool_loops.h).
#include <immintrin.h>
#include <stdint.h>

#include "kernels/pool/pool_loops.h"

namespace bitmill {

void PoolBitsAvx2(const PoolArgs& args);
void PoolCodesAvx2(const PoolArgs& args);

namespace {

// Of the quarters that unpacking leaves: 0, 4, 2, 6 of eight.
constexpr int kInOrder = 0xd8;

struct Ymm {
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
  template <int kPixel>
  static Type Even(Type a, Type b) {
    if (kPixel == 16) return _mm256_permute2x128_si256(a, b, 0x20);
    return _mm256_permute4x64_epi64(_mm256_unpacklo_epi64(a, b), kInOrder);
  }
  template <int kPixel>
  static Type Odd(Type a, Type b) {
    if (kPixel == 16) return _mm256_permute2x128_si256(a, b, 0x31);
    return _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(a, b), kInOrder);
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

struct Vectors {
  template <typename Loop>
  static void Run(const PoolRun& run, const uint8_t* flip) {
    if (PoolInPairs(run) && RunPairs<Loop>(run, flip)) return;
    const int64_t bytes = PoolAsOnePixel<Loop>(run) ? run.pixels * run.bytes : run.bytes;
    if (bytes >= Ymm::kBytes) {
      PoolPieces<Loop, Ymm>(run, flip);
    } else if (bytes >= Xmm::kBytes) {
      PoolPieces<Loop, Xmm>(run, flip);
    } else if (bytes >= HalfXmm::kBytes) {
      PoolPieces<Loop, HalfXmm>(run, flip);
    } else {
      PoolPieces<Loop, PoolByte>(run, flip);
    }
  }

  template <typename Loop>
  static bool RunPairs(const PoolRun& run, const uint8_t* flip) {
    switch (run.bytes) {
      case 8:
        return PoolPairRun<Loop, Ymm, 8>(run, flip) || PoolPairRun<Loop, Xmm, 8>(run, flip);
      case 16:
        return PoolPairRun<Loop, Ymm, 16>(run, flip);
      default:
        return false;
    }
  }
};

}  // namespace

void PoolBitsAvx2(const PoolArgs& args) { Pool<Vectors, PoolKind::kBits>(args); }
void PoolCodesAvx2(const PoolArgs& args) { Pool<Vectors, PoolKind::kCodes>(args); }

}  // namespace bitmill
