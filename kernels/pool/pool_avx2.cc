// Loads bind: a 2x2 window over small pixels is 4 loads, 2 ands, 2 shuffles, an and and, for 8-byte
// ones, a permutation for 32 bytes of output (kernels/pool/pool_loops.h).
#include <immintrin.h>
#include <stdint.h>

#include "kernels/pool/pool_loops.h"
#include "kernels/pool/pool_ymm.h"

namespace bitmill {

void PoolBitsAvx2(const PoolArgs& args);
void PoolCodesAvx2(const PoolArgs& args);

namespace {

// Of the quarters that unpacking leaves: 0, 4, 2, 6 of eight.
constexpr int kInOrder = 0xd8;

struct Ymm : YmmBytes {
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
