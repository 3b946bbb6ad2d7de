// Windows of a few pixels side by side: one load a step for all of them, no two of which can share
// address bits 6 to 11 with different pages (those are read one after the other).
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kStepBytes = 4;

// The activations of each of four steps summed.
inline __m128i StepSums(__m128i codes) {
  const __m128i pairs = _mm_maddubs_epi16(codes, _mm_set1_epi8(1));
  return _mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

// Whether kSteps steps are one run of bytes.
template <int kSteps>
inline bool AreAdjacent(const int32_t* step_bytes) {
  bool adjacent = true;
  for (int s = 1; s < kSteps; ++s) {
    adjacent &= step_bytes[s] - step_bytes[s - 1] == kStepBytes;
  }
  return adjacent;
}

// The `count` codes of a unit of `kSteps` steps, zeros behind.
template <int kSteps>
inline void CopyUnit(const uint8_t* window, const int32_t* step_bytes, int64_t count,
                     uint8_t* out) {
  if (count == kSteps && AreAdjacent<kSteps>(step_bytes)) {
    memcpy(out, window + step_bytes[0], kSteps * kStepBytes);
    return;
  }
  for (int64_t s = 0; s < count; ++s) {
    memcpy(out + s * kStepBytes, window + step_bytes[s], kStepBytes);
  }
  memset(out + count * kStepBytes, 0, static_cast<size_t>((kSteps - count) * kStepBytes));
}

template <int kSteps>
void Gather(const QconvArgs& args, const QconvPixel* pixels, int64_t rows, int64_t first,
            int64_t count, uint8_t* codes, int32_t (*step_sums)[8]) {
  constexpr int64_t kUnitBytes = kSteps * kStepBytes;
  for (int64_t r = 0; r < rows; ++r) {
    __m128i low = _mm_setzero_si128();
    __m128i high = _mm_setzero_si128();
    uint8_t* out = codes + r * kUnitBytes;
    for (int64_t s = 0; s < count; s += kSteps, out += rows * kUnitBytes) {
      const int64_t left = count - s;
      CopyUnit<kSteps>(pixels[r].window, args.step_bytes + first + s, left < kSteps ? left : kSteps,
                       out);
      if constexpr (kSteps == 2) {
        low = _mm_add_epi32(low, StepSums(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(out))));
      } else {
        low = _mm_add_epi32(low, StepSums(_mm_loadu_si128(reinterpret_cast<const __m128i*>(out))));
      }
      if constexpr (kSteps == 8) {
        const __m128i* const behind = reinterpret_cast<const __m128i*>(out + 16);
        high = _mm_add_epi32(high, StepSums(_mm_loadu_si128(behind)));
      }
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(step_sums[r]), low);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(step_sums[r] + 4), high);
  }
}

}  // namespace

void GatherQconvRowsAvx2(const QconvArgs& args, const QconvPixel* pixels, int64_t rows,
                         int64_t first, int64_t count, uint8_t* codes, int32_t (*step_sums)[8]) {
  switch (args.kind) {
    case QconvWeights::k1Bit:
      return Gather<8>(args, pixels, rows, first, count, codes, step_sums);
    case QconvWeights::k2Bit:
      return Gather<4>(args, pixels, rows, first, count, codes, step_sums);
    case QconvWeights::k4Bit:
      return Gather<2>(args, pixels, rows, first, count, codes, step_sums);
    case QconvWeights::k8Bit:
      return;
  }
}

}  // namespace bitmill
