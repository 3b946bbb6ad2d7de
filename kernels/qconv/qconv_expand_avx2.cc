// Packed weights into signed bytes: shift, mask, subtract (1 bit: mask, compare, or), three
// operations for 32 weights, once for a whole tile of pixels.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

inline __m256i Load(const uint8_t* data) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
}

inline void Store(int8_t* data, __m256i value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(data), value);
}

// Weights of step i of a unit of kBits-bit weights.
template <int kBits>
inline __m256i Expand(__m256i unit, int i) {
  if constexpr (kBits == 8) {
    return unit;
  } else if constexpr (kBits == 1) {
    const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << i));
    const __m256i negative = _mm256_cmpeq_epi8(_mm256_and_si256(unit, bit), bit);
    return _mm256_or_si256(negative, _mm256_set1_epi8(1));
  } else {
    const __m256i mask = _mm256_set1_epi8((1 << kBits) - 1);
    const __m256i codes =
        _mm256_and_si256(_mm256_srl_epi16(unit, _mm_cvtsi32_si128(i * kBits)), mask);
    return _mm256_sub_epi8(codes, _mm256_set1_epi8(1 << (kBits - 1)));
  }
}

template <int kBits>
void ExpandSteps(const QconvBlock& block, int64_t first, int64_t count, int8_t* out,
                 int64_t stride) {
  constexpr int kSteps = 8 / kBits;
  const uint8_t* units = block.units + first / kSteps * block.unit_stride;
  for (int64_t s = 0; s < count; s += kSteps, units += block.unit_stride) {
    const __m256i unit = Load(units);
    if (count - s >= kSteps) {
#pragma GCC unroll 8
      for (int i = 0; i < kSteps; ++i) Store(out + (s + i) * stride, Expand<kBits>(unit, i));
    } else {
      for (int i = 0; s + i < count; ++i) Store(out + (s + i) * stride, Expand<kBits>(unit, i));
    }
  }
}

}  // namespace

void ExpandQconvWeightsAvx2(QconvWeights kind, const QconvBlock& block, int64_t first,
                            int64_t count, int8_t* out, int64_t stride) {
  switch (kind) {
    case QconvWeights::k1Bit:
      ExpandSteps<1>(block, first, count, out, stride);
      return;
    case QconvWeights::k2Bit:
      ExpandSteps<2>(block, first, count, out, stride);
      return;
    case QconvWeights::k4Bit:
      ExpandSteps<4>(block, first, count, out, stride);
      return;
    case QconvWeights::k8Bit:
      ExpandSteps<8>(block, first, count, out, stride);
      return;
  }
}

}  // namespace bitmill
