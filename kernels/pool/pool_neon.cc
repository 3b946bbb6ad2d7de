// Loads bind: a window of 2x2 over pixels of 8 bytes is 4 loads, 2 ands, 2 shuffles and an and for
// 16 bytes of output (kernels/pool/pool_loops.h).
#include <arm_neon.h>
#include <stdint.h>

#include "kernels/pool/pool_loops.h"

namespace bitmill {

void PoolBitsNeon(const PoolArgs& args);
void PoolCodesNeon(const PoolArgs& args);

namespace {

struct Whole {
  using Type = uint8x16_t;
  static constexpr int64_t kBytes = 16;
  static Type Load(const uint8_t* p) { return vld1q_u8(p); }
  static void Store(uint8_t* p, Type v) { vst1q_u8(p, v); }
  static Type Xor(Type a, Type b) { return veorq_u8(a, b); }
  static Type Zero() { return vdupq_n_u8(0); }
  template <PoolKind kKind>
  static Type Max(Type a, Type b) {
    return kKind == PoolKind::kBits ? vandq_u8(a, b) : vmaxq_u8(a, b);
  }
  template <int kPixel>
  static Type Even(Type a, Type b) {
    return vreinterpretq_u8_u64(vuzp1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
  }
  template <int kPixel>
  static Type Odd(Type a, Type b) {
    return vreinterpretq_u8_u64(vuzp2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
  }
};

struct Half {
  using Type = uint8x8_t;
  static constexpr int64_t kBytes = 8;
  static Type Load(const uint8_t* p) { return vld1_u8(p); }
  static void Store(uint8_t* p, Type v) { vst1_u8(p, v); }
  static Type Xor(Type a, Type b) { return veor_u8(a, b); }
  static Type Zero() { return vdup_n_u8(0); }
  template <PoolKind kKind>
  static Type Max(Type a, Type b) {
    return kKind == PoolKind::kBits ? vand_u8(a, b) : vmax_u8(a, b);
  }
};

struct Vectors {
  template <typename Loop>
  static void Run(const PoolRun& run, const uint8_t* flip) {
    if (run.bytes == Half::kBytes && PoolInPairs(run) &&
        PoolPairRun<Loop, Whole, Half::kBytes>(run, flip)) {
      return;
    }
    const int64_t bytes = PoolAsOnePixel<Loop>(run) ? run.pixels * run.bytes : run.bytes;
    if (bytes >= Whole::kBytes) {
      PoolPieces<Loop, Whole>(run, flip);
    } else if (bytes >= Half::kBytes) {
      PoolPieces<Loop, Half>(run, flip);
    } else {
      PoolPieces<Loop, PoolByte>(run, flip);
    }
  }
};

}  // namespace

void PoolBitsNeon(const PoolArgs& args) { Pool<Vectors, PoolKind::kBits>(args); }
void PoolCodesNeon(const PoolArgs& args) { Pool<Vectors, PoolKind::kCodes>(args); }

}  // namespace bitmill
