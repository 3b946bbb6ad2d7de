// Arithmetic binds: 51 operations on three ports for 4 words of a 3x3 window
// (kernels/bdepth/bdepth_loops.h): 17 cycles, 135 products a cycle.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/bdepth/bdepth_loops.h"
#include "kernels/bdepth/bdepth_ymm.h"

namespace bitmill {

void BdepthAvx2(const BdepthArgs& args);

namespace {

struct Ymm : YmmWords {
  static Type Xor3(Type a, Type b, Type c) { return Xor(Xor(a, b), c); }
  static Type Majority(Type a, Type b, Type c) { return Or(And(a, b), And(Xor(a, b), c)); }
  static Type Masked(Type m, Type a, Type b) { return And(m, Xor(a, b)); }
};

struct Xmm : XmmWords {
  static Type Xor3(Type a, Type b, Type c) { return Xor(Xor(a, b), c); }
  static Type Majority(Type a, Type b, Type c) { return Or(And(a, b), And(Xor(a, b), c)); }
  static Type Masked(Type m, Type a, Type b) { return And(m, Xor(a, b)); }
};

using HalfXmm = OneWord<Xmm>;

struct Vectors {
  template <typename F>
  static void Run(const BdepthArgs& args) {
    const int64_t words = BdepthRunWords(args);
    if (words >= Ymm::kWords) {
      BdepthLines<Vectors, F, Ymm>(args);
    } else if (words >= Xmm::kWords) {
      BdepthLines<Vectors, F, Xmm>(args);
    } else {
      BdepthLines<Vectors, F, HalfXmm>(args);
    }
  }

  // A byte of a lane gets the byte of the plane that holds its bit, then a one if it is set.
  template <int kPlanes, int64_t kStep>
  static void Expand(const uint64_t* planes, uint8_t* counts) {
    const __m256i bytes = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                           2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bits = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    for (int half = 0; half < 2; ++half) {
      __m256i sum = _mm256_setzero_si256();
      for (int k = 0; k < kPlanes; ++k) {
        const auto word = static_cast<int32_t>(planes[k * kStep] >> (32 * half));
        const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(word), bytes);
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bits), bits);
        const __m256i one = _mm256_set1_epi8(static_cast<char>(1 << k));
        sum = _mm256_or_si256(sum, _mm256_and_si256(set, one));
      }
      _mm256_store_si256(reinterpret_cast<__m256i*>(counts + 32 * half), sum);
    }
  }
};

}  // namespace

void BdepthAvx2(const BdepthArgs& args) { Bdepth<Vectors>(args); }

}  // namespace bitmill
