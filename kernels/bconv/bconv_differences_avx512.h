// The bits that bconv kernels of AVX-512 count. Private to such files; of internal linkage, since
// each file is compiled for an instruction set of its own.
#pragma once

#include <immintrin.h>

namespace bitmill {
namespace {  // NOLINT(google-build-namespaces): see above

constexpr int kMaskAndDifference = 0x60;  // first and (second xor third)

// Signs that differ, or those of the products that count.
template <int kPlanes>
inline __m512i Differences(__m512i a, __m512i weights, __m512i signs) {
  if constexpr (kPlanes == 2) {
    return _mm512_ternarylogic_epi64(weights, a, signs, kMaskAndDifference);
  } else {
    return _mm512_xor_si512(a, weights);
  }
}

}  // namespace
}  // namespace bitmill
