// Loads bind: a 2x2 window over small pixels is 4 loads, 2 ands, 2 permutations and an and for 64
// bytes of output (kernels/pool/pool_loops.h).
#include <immintrin.h>
#include <stdint.h>

#include "kernels/pool/pool_loops.h"
#include "kernels/pool/pool_ymm.h"

namespace bitmill {

void PoolBitsAvx512(const PoolArgs& args);
void PoolCodesAvx512(const PoolArgs& args);

namespace {

struct Zmm {
  using Type = __m512i;
  static constexpr int64_t kBytes = 64;
  static Type Load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void Store(uint8_t* p, Type v) { _mm512_storeu_si512(p, v); }
  static Type Xor(Type a, Type b) { return _mm512_xor_si512(a, b); }
  static Type Zero() { return _mm512_setzero_si512(); }
  template <PoolKind kKind>
  static Type Max(Type a, Type b) {
    return kKind == PoolKind::kBits ? _mm512_and_si512(a, b) : _mm512_max_epu8(a, b);
  }
  template <int kPixel>
  static Type Even(Type a, Type b) {
    const Type places = kPixel == 8    ? _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14)
                        : kPixel == 16 ? _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13)
                                       : _mm512_setr_epi64(0, 1, 2, 3, 8, 9, 10, 11);
    return _mm512_permutex2var_epi64(a, places, b);
  }
  template <int kPixel>
  static Type Odd(Type a, Type b) {
    const Type places = kPixel == 8    ? _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15)
                        : kPixel == 16 ? _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15)
                                       : _mm512_setr_epi64(4, 5, 6, 7, 12, 13, 14, 15);
    return _mm512_permutex2var_epi64(a, places, b);
  }
};

struct Ymm : YmmBytes {
  template <int kPixel>
  static Type Even(Type a, Type b) {
    if (kPixel == 16) return _mm256_permute2x128_si256(a, b, 0x20);
    return _mm256_permutex2var_epi64(a, _mm256_setr_epi64x(0, 2, 4, 6), b);
  }
  template <int kPixel>
  static Type Odd(Type a, Type b) {
    if (kPixel == 16) return _mm256_permute2x128_si256(a, b, 0x31);
    return _mm256_permutex2var_epi64(a, _mm256_setr_epi64x(1, 3, 5, 7), b);
  }
};

struct Vectors {
  template <typename Loop>
  static void Run(const PoolRun& run, const uint8_t* flip) {
    if (PoolInPairs(run) && RunPairs<Loop>(run, flip)) return;
    const int64_t bytes = PoolAsOnePixel<Loop>(run) ? run.pixels * run.bytes : run.bytes;
    if (bytes >= Zmm::kBytes) {
      PoolPieces<Loop, Zmm>(run, flip);
    } else if (bytes >= Ymm::kBytes) {
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
        return PoolPairRun<Loop, Zmm, 8>(run, flip) || PoolPairRun<Loop, Ymm, 8>(run, flip) ||
               PoolPairRun<Loop, Xmm, 8>(run, flip);
      case 16:
        return PoolPairRun<Loop, Zmm, 16>(run, flip) || PoolPairRun<Loop, Ymm, 16>(run, flip);
      case 32:
        return PoolPairRun<Loop, Zmm, 32>(run, flip);
      default:
        return false;
    }
  }
};

}  // namespace

void PoolBitsAvx512(const PoolArgs& args) { Pool<Vectors, PoolKind::kBits>(args); }
void PoolCodesAvx512(const PoolArgs& args) { Pool<Vectors, PoolKind::kCodes>(args); }

}  // namespace bitmill
