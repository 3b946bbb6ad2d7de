// Arithmetic binds: 27 operations on two ports for 8 words of a 3x3 window, beside 18 loads of
// activations and weights and 4 of limits (kernels/bdepth/bdepth_loops.h): 14 cycles, 340 products
// a cycle. Numbers: a word's counts are a vector of bytes, from which its stores of 256 bytes bind.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/bdepth/bdepth_loops.h"
#include "kernels/bdepth/bdepth_ymm.h"

namespace bitmill {

void BdepthAvx512(const BdepthArgs& args);

namespace {

// Truth tables of three operands; bit 4a + 2b + c.
constexpr int kXor3 = 0x96;
constexpr int kMajority = 0xe8;
constexpr int kMasked = 0x60;  // a and (b xor c)

struct Zmm {
  using Type = __m512i;
  static constexpr int64_t kWords = 8;
  static Type Load(const uint64_t* p) { return _mm512_loadu_si512(p); }
  static void Store(uint64_t* p, Type v) { _mm512_storeu_si512(p, v); }
  static Type And(Type a, Type b) { return _mm512_and_si512(a, b); }
  static Type Or(Type a, Type b) { return _mm512_or_si512(a, b); }
  static Type Xor(Type a, Type b) { return _mm512_xor_si512(a, b); }
  static Type Xor3(Type a, Type b, Type c) { return _mm512_ternarylogic_epi64(a, b, c, kXor3); }
  static Type Majority(Type a, Type b, Type c) {
    return _mm512_ternarylogic_epi64(a, b, c, kMajority);
  }
  static Type Masked(Type m, Type a, Type b) { return _mm512_ternarylogic_epi64(m, a, b, kMasked); }
};

struct Ymm : YmmWords {
  static Type Xor3(Type a, Type b, Type c) { return _mm256_ternarylogic_epi64(a, b, c, kXor3); }
  static Type Majority(Type a, Type b, Type c) {
    return _mm256_ternarylogic_epi64(a, b, c, kMajority);
  }
  static Type Masked(Type m, Type a, Type b) { return _mm256_ternarylogic_epi64(m, a, b, kMasked); }
};

struct Xmm : XmmWords {
  static Type Xor3(Type a, Type b, Type c) { return _mm_ternarylogic_epi64(a, b, c, kXor3); }
  static Type Majority(Type a, Type b, Type c) {
    return _mm_ternarylogic_epi64(a, b, c, kMajority);
  }
  static Type Masked(Type m, Type a, Type b) { return _mm_ternarylogic_epi64(m, a, b, kMasked); }
};

using HalfXmm = OneWord<Xmm>;

struct Vectors {
  template <typename F>
  static void Run(const BdepthArgs& args) {
    const int64_t words = BdepthRunWords(args);
    if (words >= Zmm::kWords) {
      BdepthLines<Vectors, F, Zmm>(args);
    } else if (words >= Ymm::kWords) {
      BdepthLines<Vectors, F, Ymm>(args);
    } else if (words >= Xmm::kWords) {
      BdepthLines<Vectors, F, Xmm>(args);
    } else {
      BdepthLines<Vectors, F, HalfXmm>(args);
    }
  }

  template <int kPlanes, int64_t kStep>
  static void Expand(const uint64_t* planes, uint8_t* counts) {
    __m512i sum = _mm512_maskz_set1_epi8(planes[0], 1);
    for (int k = 1; k < kPlanes; ++k) {
      sum = _mm512_mask_add_epi8(sum, planes[k * kStep], sum,
                                 _mm512_set1_epi8(static_cast<char>(1 << k)));
    }
    _mm512_store_si512(counts, sum);
  }
};

}  // namespace

void BdepthAvx512(const BdepthArgs& args) { Bdepth<Vectors>(args); }

}  // namespace bitmill
