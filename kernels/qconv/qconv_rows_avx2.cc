// Weights of less than 8 bits streamed once past a few pixels ("rows"), expanded in registers.
//
// A unit is masked where its codes lie: and, no shift to the bottom. Codes at bit 0 and codes
// scaled by 2^bits have sums of their own, so that a shift by 4 gives the next two; the scaled sums
// are shifted when a group of units ends, before 16 bits without sign overflow:
//
//   bits  scales  units of a group  largest sum (codes below 256)
//   1     1       16                16 * 8 * 2 * 255 = 65280
//   1     2       16                the same; scaled 16 * 4 * 2 * 255 * 2 = 65280
//   2     1       10                10 * 4 * 2 * 255 * 3 = 61200
//   2     2       5                 scaled 5 * 2 * 2 * 255 * 12 = 61200
//   4     1       4                 4 * 2 * 2 * 255 * 15 = 61200
//
// vpmaddubsw never saturates: two products are at most 2 * 255 * 15. Sums begin at -32768, so that
// vpmaddwd may take them as numbers with sign. What codes are more than weights (2 and 8) or how
// bits stand for them (1 - 2 * bit) is mended with the sum of the activations, once for a row.
//
// One row: 16 channels and two scales, for 256 products 2 loads, 2 shifts, 8 ands, 8 vpmaddubsw and
// 8 vpaddw on four pipes: 6.5 cycles; Zen 3 takes 7.9 (see qconv_avx2.cc), 65 % of a ceiling that
// knows no expansion. More rows: one scale, as registers run out; 4 rows take 3 shifts and 4 ands
// for each 4 * (4 + 4): 90 %. From memory one row is bound by reading.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kUnitBytes = 32;
constexpr int64_t kAheadBytes = 4096;  // of prefetches

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

// Bytes that may be read as a word.
struct __attribute__((may_alias)) FourBytes {
  uint8_t bytes[4];
};

template <int kBits, int kScales>
struct Form {
  static constexpr int kSteps = 8 / kBits;
  static constexpr int kRowBytes = 4 * kSteps;
  static constexpr int kGroup = kBits == 1 ? 16 : kBits == 4 ? 4 : kScales == 1 ? 10 : 5;
  static constexpr int kStepMost = 2 * 255 * ((1 << kBits) - 1);
  static_assert(kGroup * kSteps * kStepMost <= UINT16_MAX);
  static_assert(kScales == 1 || kGroup * kSteps / 2 * (kStepMost << kBits) <= UINT16_MAX);
};

// sums[b] += the four bytes times codes[b], in 16 bits. In assembly: see qconv_avx2.cc.
template <int kBlocks>
inline __attribute__((always_inline)) void Multiply(const uint8_t* bytes, const __m256i* codes,
                                                    __m256i* sums) {
  const FourBytes& four = *reinterpret_cast<const FourBytes*>(bytes);
  __m256i a, products;
  if constexpr (kBlocks == 2) {
    __asm__ volatile(
        "vpbroadcastd %[four], %[a]\n\t"
        "vpmaddubsw %[c0], %[a], %[products]\n\t"
        "vpmaddubsw %[c1], %[a], %[a]\n\t"
        "vpaddw %[products], %[sum0], %[sum0]\n\t"
        "vpaddw %[a], %[sum1], %[sum1]"
        : [sum0] "+x"(sums[0]), [sum1] "+x"(sums[1]), [a] "=&x"(a), [products] "=&x"(products)
        : [four] "m"(four), [c0] "x"(codes[0]), [c1] "x"(codes[1]));
  } else {
    __asm__ volatile(
        "vpbroadcastd %[four], %[a]\n\t"
        "vpmaddubsw %[c0], %[a], %[products]\n\t"
        "vpaddw %[products], %[sum0], %[sum0]"
        : [sum0] "+x"(sums[0]), [a] "=&x"(a), [products] "=&x"(products)
        : [four] "m"(four), [c0] "x"(codes[0]));
  }
}

template <int kBlocks>
inline void Fill(__m256i value, __m256i* vectors) {
  vectors[0] = value;
  if constexpr (kBlocks == 2) vectors[1] = value;
}

// From codes to weights: less 2 or 8; 1 - 2 * bit.
template <int kBits>
inline __m256i Decode(__m256i total, const int32_t* step_sums) {
  int32_t sum = 0;
  for (int s = 0; s < 8; ++s) sum += step_sums[s];
  if constexpr (kBits == 1) {
    return _mm256_sub_epi32(_mm256_set1_epi32(sum), _mm256_add_epi32(total, total));
  }
  return _mm256_sub_epi32(total, _mm256_set1_epi32(sum * (1 << (kBits - 1))));
}

// Step kStep of a unit for all rows. `unit` is shifted as steps are used up.
template <int kBits, int kScales, int kBlocks, int kStep, int... kRow>
inline __attribute__((always_inline)) void AddStep(Indices<kRow...>, const uint8_t* activations,
                                                   const __m256i* masks, __m256i* unit,
                                                   __m256i (*sums)[kBlocks],
                                                   __m256i (*scaled)[kBlocks]) {
  constexpr int kScale = kStep % kScales;
  if constexpr (kStep > 0 && kScale == 0) {
    unit[0] = _mm256_srli_epi16(unit[0], kBits * kScales);
    if constexpr (kBlocks == 2) unit[1] = _mm256_srli_epi16(unit[1], kBits * kScales);
  }
  __m256i codes[kBlocks];
  codes[0] = _mm256_and_si256(unit[0], masks[kScale]);
  if constexpr (kBlocks == 2) codes[1] = _mm256_and_si256(unit[1], masks[kScale]);
  constexpr int kRowBytes = Form<kBits, kScales>::kRowBytes;
  (Multiply<kBlocks>(activations + kRow * kRowBytes + kStep * 4, codes,
                     kScale == 0 ? sums[kRow] : scaled[kRow]),
   ...);
}

template <int kBits, int kScales, int kBlocks, bool kListed, int... kStep, int... kRow>
inline __attribute__((always_inline)) void CountRows(Indices<kStep...>, Indices<kRow...> rows,
                                                     const QconvRows& tile, const uint8_t* units,
                                                     int32_t* sums) {
  using F = Form<kBits, kScales>;
  constexpr int kRows = sizeof...(kRow);
  __m256i masks[kScales];
  masks[0] = _mm256_set1_epi8((1 << kBits) - 1);
  if constexpr (kScales == 2) masks[1] = _mm256_slli_epi16(masks[0], kBits);
  const __m256i start = _mm256_set1_epi16(INT16_MIN);
  const int64_t groups = (tile.units + F::kGroup - 1) / F::kGroup;
  // What every group begins below zero, for the two sums of 16 bits that vpmaddwd joins.
  const __m256i below = _mm256_set1_epi32(static_cast<int32_t>(groups << 16));
  __m256i totals[kRows][kBlocks];
  (Fill<kBlocks>(below, totals[kRow]), ...);
  const uint8_t* activations = tile.activations;
  const int32_t* listed = tile.list;
  const auto next = [&] {  // the activations of the next unit
    if constexpr (kListed)
      return activations + (*listed++ - tile.list_first) * kRows * F::kRowBytes;
    const uint8_t* const here = activations;
    activations += kRows * F::kRowBytes;
    return here;
  };
  for (int64_t left = tile.units; left > 0; left -= F::kGroup) {
    __m256i part[kRows][kBlocks], scaled[kRows][kBlocks];
    (Fill<kBlocks>(start, part[kRow]), ...);
    (Fill<kBlocks>(_mm256_setzero_si256(), scaled[kRow]), ...);
    const uint8_t* const end = units + (left < F::kGroup ? left : F::kGroup) * kBlocks * kUnitBytes;
    do {
      __m256i unit[kBlocks];
      unit[0] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(units));
      if constexpr (kBlocks == 2) {
        unit[1] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(units + kUnitBytes));
      }
      _mm_prefetch(reinterpret_cast<const char*>(units + kAheadBytes), _MM_HINT_T0);
      units += kBlocks * kUnitBytes;
      const uint8_t* const at = next();
      (AddStep<kBits, kScales, kBlocks, kStep>(rows, at, masks, unit, part, scaled), ...);
    } while (units != end);
    const auto join = [](__m256i word, __m256i scaled_word, __m256i* total) {
      if constexpr (kScales == 2) {
        word = _mm256_add_epi16(word, _mm256_srli_epi16(scaled_word, kBits));
      }
      *total = _mm256_add_epi32(*total, _mm256_madd_epi16(word, _mm256_set1_epi16(1)));
    };
    (join(part[kRow][0], scaled[kRow][0], &totals[kRow][0]), ...);
    if constexpr (kBlocks == 2) (join(part[kRow][1], scaled[kRow][1], &totals[kRow][1]), ...);
  }
  const auto store = [&](int row, int block, __m256i total) {
    const __m256i value = Decode<kBits>(total, tile.step_sums[row]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + (row * kBlocks + block) * kLanes), value);
  };
  (store(kRow, 0, totals[kRow][0]), ...);
  if constexpr (kBlocks == 2) (store(kRow, 1, totals[kRow][1]), ...);
}

template <int kBits, int kBlocks, bool kListed, int... kRow>
void CountTile(const QconvRows& tile, const uint8_t* units, int32_t* sums) {
  constexpr int kScales = sizeof...(kRow) == 1 && kBits < 4 ? 2 : 1;
  constexpr Indices<kRow...> kRows;
  if constexpr (kBits == 1) {
    CountRows<1, kScales, kBlocks, kListed>(Indices<0, 1, 2, 3, 4, 5, 6, 7>(), kRows, tile, units,
                                            sums);
  } else if constexpr (kBits == 2) {
    CountRows<2, kScales, kBlocks, kListed>(Indices<0, 1, 2, 3>(), kRows, tile, units, sums);
  } else {
    CountRows<4, kScales, kBlocks, kListed>(Indices<0, 1>(), kRows, tile, units, sums);
  }
}

template <int kBits, int kBlocks, bool kListed>
QconvRowsFn TileOf(int64_t rows) {
  static constexpr QconvRowsFn kTiles[kQconvTileRows] = {
      CountTile<kBits, kBlocks, kListed, 0>, CountTile<kBits, kBlocks, kListed, 0, 1>,
      CountTile<kBits, kBlocks, kListed, 0, 1, 2>, CountTile<kBits, kBlocks, kListed, 0, 1, 2, 3>};
  return kTiles[rows - 1];
}

template <int kBits>
QconvRowsFn TileOf(const QconvRowsForm& form) {
  if (form.listed) {
    return form.blocks == 2 ? TileOf<kBits, 2, true>(form.rows) : TileOf<kBits, 1, true>(form.rows);
  }
  return form.blocks == 2 ? TileOf<kBits, 2, false>(form.rows) : TileOf<kBits, 1, false>(form.rows);
}

}  // namespace

QconvRowsFn QconvRowsOfAvx2(const QconvRowsForm& form) {
  if (form.blocks > 2) return nullptr;
  switch (form.kind) {
    case QconvWeights::k1Bit:
      return TileOf<1>(form);
    case QconvWeights::k2Bit:
      return TileOf<2>(form);
    case QconvWeights::k4Bit:
      return TileOf<4>(form);
    case QconvWeights::k8Bit:
      break;
  }
  return nullptr;
}

}  // namespace bitmill
