// Weights of less than 8 bits streamed once past a few pixels ("rows"), their codes masked where
// they lie: as in kernels/qconv/qconv_rows_avx2.cc, where the groups and their sums are explained,
// in vectors of 16 channels.
//
// One row: 2-bit weights are 1 load, 4 broadcast loads, 1 shift, 4 ands, 4 vpmaddubsw and 4 vpaddw
// for 256 products: 6.5 cycles of two 512-bit ports. Four rows: 3 shifts, 4 ands, 16 vpmaddubsw
// and 16 vpaddw for 1024: 19.5 cycles, 52 MAC a cycle of 64.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kAheadBytes = 4096;  // of prefetches

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

template <int kBits, int kScales>
struct Form {
  static constexpr int kSteps = 8 / kBits;
  static constexpr int kRowBytes = 4 * kSteps;
  static constexpr int kGroup = kBits == 1 ? 16 : kBits == 4 ? 4 : kScales == 1 ? 10 : 5;
  static constexpr int kStepMost = 2 * 255 * ((1 << kBits) - 1);
  static_assert(kGroup * kSteps * kStepMost <= UINT16_MAX);
  static_assert(kScales == 1 || kGroup * kSteps / 2 * (kStepMost << kBits) <= UINT16_MAX);
};

inline __m512i Broadcast(const uint8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return _mm512_set1_epi32(word);
}

// Compilers would load ahead until registers run out. (Emulated registers are memory.)
inline void KeepInRegister([[maybe_unused]] __m512i* sum) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(*sum));
#endif
}

inline void AddProducts(__m512i a, __m512i codes, __m512i* sum) {
  *sum = _mm512_add_epi16(*sum, _mm512_maddubs_epi16(a, codes));
  KeepInRegister(sum);
}

template <int kBlocks>
inline __m512i LoadUnit(const uint8_t* units) {
  if constexpr (kBlocks == 2) return _mm512_loadu_si512(units);
  return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(units)));
}

// From codes to weights: less 2 or 8; 1 - 2 * bit.
template <int kBits>
inline __m512i Decode(__m512i total, const int32_t* step_sums) {
  int32_t sum = 0;
  for (int s = 0; s < 8; ++s) sum += step_sums[s];
  if constexpr (kBits == 1) {
    return _mm512_sub_epi32(_mm512_set1_epi32(sum), _mm512_add_epi32(total, total));
  }
  return _mm512_sub_epi32(total, _mm512_set1_epi32(sum * (1 << (kBits - 1))));
}

// Step kStep of a unit for all rows. `unit` is shifted as steps are used up.
template <int kBits, int kScales, int kStep, int... kRow>
inline __attribute__((always_inline)) void AddStep(Indices<kRow...>, const uint8_t* activations,
                                                   const __m512i* masks, __m512i* unit,
                                                   __m512i* part, __m512i* scaled) {
  constexpr int kScale = kStep % kScales;
  if constexpr (kStep > 0 && kScale == 0) *unit = _mm512_srli_epi16(*unit, kBits * kScales);
  const __m512i codes = _mm512_and_si512(*unit, masks[kScale]);
  constexpr int kRowBytes = Form<kBits, kScales>::kRowBytes;
  (AddProducts(Broadcast(activations + kRow * kRowBytes + kStep * 4), codes,
               kScale == 0 ? &part[kRow] : &scaled[kRow]),
   ...);
}

template <int kBits, int kScales, int kBlocks, bool kListed, int... kStep, int... kRow>
inline __attribute__((always_inline)) void CountRows(Indices<kStep...>, Indices<kRow...> rows,
                                                     const QconvRows& tile, const uint8_t* units,
                                                     int32_t* sums) {
  using F = Form<kBits, kScales>;
  constexpr int kRows = sizeof...(kRow);
  __m512i masks[kScales];
  masks[0] = _mm512_set1_epi8((1 << kBits) - 1);
  if constexpr (kScales == 2) masks[1] = _mm512_slli_epi16(masks[0], kBits);
  const __m512i start = _mm512_set1_epi16(INT16_MIN);
  const int64_t groups = (tile.units + F::kGroup - 1) / F::kGroup;
  // What every group begins below zero, for the two sums of 16 bits that vpmaddwd joins.
  const __m512i below = _mm512_set1_epi32(static_cast<int32_t>(groups << 16));
  __m512i totals[kRows];
  ((totals[kRow] = below), ...);
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
    __m512i part[kRows], scaled[kRows];
    ((part[kRow] = start), ...);
    ((scaled[kRow] = _mm512_setzero_si512()), ...);
    for (int64_t u = left < F::kGroup ? left : F::kGroup; u > 0; --u) {
      __m512i unit = LoadUnit<kBlocks>(units);
      _mm_prefetch(reinterpret_cast<const char*>(units + kAheadBytes), _MM_HINT_T0);
      units += kBlocks * 32;
      const uint8_t* const at = next();
      (AddStep<kBits, kScales, kStep>(rows, at, masks, &unit, part, scaled), ...);
    }
    const auto join = [](__m512i word, __m512i scaled_word, __m512i* total) {
      if constexpr (kScales == 2) {
        word = _mm512_add_epi16(word, _mm512_srli_epi16(scaled_word, kBits));
      }
      *total = _mm512_add_epi32(*total, _mm512_madd_epi16(word, _mm512_set1_epi16(1)));
    };
    (join(part[kRow], scaled[kRow], &totals[kRow]), ...);
  }
  const auto store = [&](int row, __m512i total) {
    const __m512i value = Decode<kBits>(total, tile.step_sums[row]);
    if constexpr (kBlocks == 2) {
      _mm512_storeu_si512(sums + row * kLanes, value);
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + row * kLanes / 2),
                          _mm512_castsi512_si256(value));
    }
  };
  (store(kRow, totals[kRow]), ...);
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

QconvRowsFn QconvRowsOfAvx512(const QconvRowsForm& form) {
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
