// Arithmetic binds: 35 operations on two pipes for 2 words of a 3x3 window, where a majority is an
// exclusive or, which the sum has anyway, and a selection (kernels/bdepth/bdepth_loops.h): 18
// cycles, 66 products a cycle.
#include <arm_neon.h>
#include <stdint.h>

#include "kernels/bdepth/bdepth_loops.h"

namespace bitmill {

void BdepthNeon(const BdepthArgs& args);

namespace {

struct Whole {
  using Type = uint64x2_t;
  static constexpr int64_t kWords = 2;
  static Type Load(const uint64_t* p) { return vld1q_u64(p); }
  static void Store(uint64_t* p, Type v) { vst1q_u64(p, v); }
  static Type And(Type a, Type b) { return vandq_u64(a, b); }
  static Type Or(Type a, Type b) { return vorrq_u64(a, b); }
  static Type Xor(Type a, Type b) { return veorq_u64(a, b); }
  static Type Xor3(Type a, Type b, Type c) { return Xor(Xor(a, b), c); }
  static Type Majority(Type a, Type b, Type c) { return vbslq_u64(Xor(a, b), c, a); }
  static Type Masked(Type m, Type a, Type b) { return And(m, Xor(a, b)); }
};

struct Half {
  using Type = uint64x1_t;
  static constexpr int64_t kWords = 1;
  static Type Load(const uint64_t* p) { return vld1_u64(p); }
  static void Store(uint64_t* p, Type v) { vst1_u64(p, v); }
  static Type And(Type a, Type b) { return vand_u64(a, b); }
  static Type Or(Type a, Type b) { return vorr_u64(a, b); }
  static Type Xor(Type a, Type b) { return veor_u64(a, b); }
  static Type Xor3(Type a, Type b, Type c) { return Xor(Xor(a, b), c); }
  static Type Majority(Type a, Type b, Type c) { return vbsl_u64(Xor(a, b), c, a); }
  static Type Masked(Type m, Type a, Type b) { return And(m, Xor(a, b)); }
};

struct Vectors {
  template <typename F>
  static void Run(const BdepthArgs& args) {
    if (BdepthRunWords(args) >= Whole::kWords) {
      BdepthLines<Vectors, F, Whole>(args);
    } else {
      BdepthLines<Vectors, F, Half>(args);
    }
  }

  // Eight channels at a time: a byte of the plane in every lane, of which each takes its bit.
  template <int kPlanes, int64_t kStep>
  static void Expand(const uint64_t* planes, uint8_t* counts) {
    const uint8x8_t bits = vcreate_u8(0x8040201008040201);
    for (int i = 0; i < 8; ++i) {
      uint8x8_t sum = vdup_n_u8(0);
      for (int k = 0; k < kPlanes; ++k) {
        const uint8x8_t byte = vdup_n_u8(static_cast<uint8_t>(planes[k * kStep] >> (8 * i)));
        sum = vorr_u8(sum, vand_u8(vtst_u8(byte, bits), vdup_n_u8(static_cast<uint8_t>(1 << k))));
      }
      vst1_u8(counts + 8 * i, sum);
    }
  }
};

}  // namespace

void BdepthNeon(const BdepthArgs& args) { Bdepth<Vectors>(args); }

}  // namespace bitmill
