// Weights of less than 8 bits streamed once past a few pixels ("rows"), their codes masked where
// they lie: vpdpbusd adds four products into 32 bits, so codes may stay scaled by any power of two
// if each scale has sums of its own.
//
// Bytes of codes are the operand with sign. Below the top bit masked codes are not negative; the
// topmost code is turned from weight + 2 (or + 8) into two's complement by the ternary operation
// that masks it, and is then the weight itself times 64 (or 16). A top bit of 1-bit weights counts
// -128. What the other codes are more than weights is mended with the sum of their activations.
//
// A unit of 64 bytes is 16 channels: for 256 products of 2-bit weights and one row 1 load, 4 masks,
// 4 broadcast loads and 4 vpdpbusd: 4 cycles where one port multiplies (Zen 4: 64 MAC a cycle,
// all it has), 2.5 (loads) where two do. One row takes two units in turn, so that sums are not
// waited for. 1-bit weights: eight masks for one or two rows; for more, four and a shift.
// Sums: at most 4096 units with a step of 4 * 255 * 128 each, below 2^30.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kAheadBytes = 4096;  // of prefetches
constexpr int64_t kStreamAheadBytes = 1024;

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

inline __m512i Broadcast(const uint8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return _mm512_set1_epi32(word);
}

// g++ 12 would copy sums to and fro instead of adding to them. (Emulated registers are memory.)
inline void KeepInRegister([[maybe_unused]] __m512i* sum) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(*sum));
#endif
}

inline void AddProducts(__m512i a, __m512i codes, __m512i* sum) {
  *sum = _mm512_dpbusd_epi32(*sum, a, codes);
  KeepInRegister(sum);
}

template <int kBlocks>
inline __m512i LoadUnit(const uint8_t* units) {
  if constexpr (kBlocks == 2) return _mm512_loadu_si512(units);
  return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(units)));
}

// Whether the codes of a scale reach the sign of a byte.
template <int kBits, int kScale>
constexpr bool IsTop() {
  return (kScale + 1) * kBits == 8;
}

template <int kBits, int kScale>
inline __m512i MaskCodes(__m512i unit) {
  constexpr uint32_t kMask = ((1U << kBits) - 1) << (kScale * kBits);
  const __m512i mask = _mm512_set1_epi32(static_cast<int32_t>(kMask * 0x01010101U));
  if constexpr (kBits > 1 && IsTop<kBits, kScale>()) {
    constexpr int kXorThenAnd = 0x28;
    const __m512i signs = _mm512_set1_epi32(static_cast<int32_t>(0x80808080U));
    return _mm512_ternarylogic_epi32(unit, signs, mask, kXorThenAnd);
  }
  return _mm512_and_si512(unit, mask);
}

// Step kStep of a unit, whose codes are at scale kScale, for all rows.
template <int kBits, int kScale, int kStep, int... kRow>
inline __attribute__((always_inline)) void AddStep(Indices<kRow...>, const uint8_t* activations,
                                                   __m512i unit, __m512i* sums) {
  constexpr int kSteps = 8 / kBits;
  const __m512i codes = MaskCodes<kBits, kScale>(unit);
  (AddProducts(Broadcast(activations + (kRow * kSteps + kStep) * 4), codes, &sums[kRow]), ...);
}

// As many steps as there are scales are masked as they lie, the others after one shift.
template <int kBits, int... kScale, int... kRow>
inline __attribute__((always_inline)) void AddUnit(Indices<kScale...>, Indices<kRow...> rows,
                                                   const uint8_t* activations, __m512i unit,
                                                   __m512i (*sums)[sizeof...(kRow)]) {
  constexpr int kScales = sizeof...(kScale);
  (AddStep<kBits, kScale, kScale>(rows, activations, unit, sums[kScale]), ...);
  if constexpr (kScales * kBits < 8) {
    const __m512i above = _mm512_srli_epi16(unit, kBits * kScales);
    (AddStep<kBits, kScale, kScales + kScale>(rows, activations, above, sums[kScale]), ...);
  }
}

template <int... kRow>
inline void Clear(Indices<kRow...>, __m512i* sums) {
  ((sums[kRow] = _mm512_setzero_si512()), ...);
}

template <int... kRow>
inline void Add(Indices<kRow...>, const __m512i* more, __m512i* sums) {
  ((sums[kRow] = _mm512_add_epi32(sums[kRow], more[kRow])), ...);
}

// Arithmetic; sums are below 2^30 in size.
template <int kShift>
inline __m512i ShiftDown(__m512i sum) {
  constexpr int32_t kAbove = 1 << 30;
  const __m512i positive = _mm512_add_epi32(sum, _mm512_set1_epi32(kAbove));
  return _mm512_sub_epi32(_mm512_srli_epi32(positive, kShift), _mm512_set1_epi32(kAbove >> kShift));
}

// A scaled sum joins those of codes, or those of weights: a top code is the weight, a top bit -128
// for twice the -1 that it stands for.
template <int kBits, int kScale>
inline void Join(__m512i sum, __m512i* codes, __m512i* weights) {
  if constexpr (IsTop<kBits, kScale>()) {
    constexpr int kShift = kBits == 1 ? 6 : kScale * kBits;
    *weights = _mm512_add_epi32(*weights, ShiftDown<kShift>(sum));
  } else {
    *codes = _mm512_add_epi32(*codes, ShiftDown<kScale * kBits>(sum));
  }
}

// Weights times activations of one row.
template <int kBits, int kRow, int kRows, int... kScale>
inline __m512i Decode(Indices<kScale...>, const int32_t* step_sums, const __m512i (*sums)[kRows]) {
  __m512i codes = _mm512_setzero_si512();
  __m512i weights = _mm512_setzero_si512();
  (Join<kBits, kScale>(sums[kScale][kRow], &codes, &weights), ...);
  constexpr int kScales = sizeof...(kScale);
  constexpr int kSteps = 8 / kBits;
  // Steps whose codes are not weights.
  constexpr int kCoded = kBits > 1 && kScales == kSteps ? kSteps - 1 : kSteps;
  int32_t activations = 0;
  for (int s = 0; s < kCoded; ++s) activations += step_sums[s];
  if constexpr (kBits == 1) {
    const __m512i twice = _mm512_add_epi32(codes, codes);
    return _mm512_add_epi32(weights, _mm512_sub_epi32(_mm512_set1_epi32(activations), twice));
  }
  const __m512i offset = _mm512_set1_epi32(activations * (1 << (kBits - 1)));
  return _mm512_add_epi32(weights, _mm512_sub_epi32(codes, offset));
}

template <int kBlocks>
inline void Store(__m512i total, int row, int32_t* sums) {
  if constexpr (kBlocks == 2) {
    _mm512_storeu_si512(sums + row * kLanes, total);
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + row * kLanes / 2),
                        _mm512_castsi512_si256(total));
  }
}

template <int kBits, int kBlocks, bool kListed, bool kTwoSets, int... kScale, int... kRow>
inline __attribute__((always_inline)) void CountRows(Indices<kScale...> scales,
                                                     Indices<kRow...> rows, const QconvRows& tile,
                                                     const uint8_t* units, int32_t* sums) {
  constexpr int kScales = sizeof...(kScale);
  constexpr int kRows = sizeof...(kRow);
  constexpr int64_t kUnitBytes = kBlocks * 32;
  constexpr int64_t kActivationBytes = kRows * 32 / kBits;
  __m512i part[kScales][kRows];
  (Clear(rows, part[kScale]), ...);
  const uint8_t* activations = tile.activations;
  const int32_t* listed = tile.list;
  const auto next = [&] {  // the activations of the next unit
    if constexpr (kListed) return activations + (*listed++ - tile.list_first) * kActivationBytes;
    const uint8_t* const here = activations;
    activations += kActivationBytes;
    return here;
  };
  int64_t left = tile.units;
  if constexpr (kTwoSets) {
    __m512i other[kScales][kRows];
    (Clear(rows, other[kScale]), ...);
    for (; left >= 2; left -= 2) {
      _mm_prefetch(reinterpret_cast<const char*>(units + kAheadBytes), _MM_HINT_T0);
      AddUnit<kBits>(scales, rows, next(), LoadUnit<kBlocks>(units), part);
      AddUnit<kBits>(scales, rows, next(), LoadUnit<kBlocks>(units + kUnitBytes), other);
      units += 2 * kUnitBytes;
    }
    (Add(rows, other[kScale], part[kScale]), ...);
  }
  for (; left > 0; --left) {
    _mm_prefetch(reinterpret_cast<const char*>(units + kAheadBytes), _MM_HINT_T0);
    AddUnit<kBits>(scales, rows, next(), LoadUnit<kBlocks>(units), part);
    units += kUnitBytes;
  }
  (Store<kBlocks>(Decode<kBits, kRow, kRows>(scales, tile.step_sums[kRow], part), kRow, sums), ...);
}

template <int kBits, int kBlocks, bool kListed, int... kRow>
void CountTile(const QconvRows& tile, const uint8_t* units, int32_t* sums) {
  constexpr int kRows = sizeof...(kRow);
  constexpr Indices<kRow...> kRowIndices;
  if constexpr (kBits == 1 && kRows <= 2) {
    CountRows<1, kBlocks, kListed, false>(Indices<0, 1, 2, 3, 4, 5, 6, 7>(), kRowIndices, tile,
                                          units, sums);
  } else if constexpr (kBits == 4) {
    CountRows<4, kBlocks, kListed, kRows <= 2>(Indices<0, 1>(), kRowIndices, tile, units, sums);
  } else {
    CountRows<kBits, kBlocks, kListed, kRows == 1>(Indices<0, 1, 2, 3>(), kRowIndices, tile, units,
                                                   sums);
  }
}

// One row and several pairs of blocks, a stream of weights each: memory delivers more to several
// streams than to one, whose prefetches stop at every page.
template <int kBits, int... kScale, int... kPair>
inline __attribute__((always_inline)) void CountStreams(Indices<kScale...> scales,
                                                        Indices<kPair...>, const QconvRows& tile,
                                                        const uint8_t* units, int32_t* sums) {
  constexpr Indices<0> kRow;
  constexpr int kScales = sizeof...(kScale);
  constexpr int kPairs = sizeof...(kPair);
  constexpr int64_t kUnitBytes = 64;
  __m512i part[kPairs][kScales][1];
  const auto clear = [&](__m512i(*pair)[1]) { (Clear(kRow, pair[kScale]), ...); };
  (clear(part[kPair]), ...);
  const uint8_t* activations = tile.activations;
  for (int64_t left = tile.units; left > 0; --left) {
    const auto add = [&](const uint8_t* unit, __m512i(*pair)[1]) {
      _mm_prefetch(reinterpret_cast<const char*>(unit + kStreamAheadBytes), _MM_HINT_T0);
      AddUnit<kBits>(scales, kRow, activations, LoadUnit<2>(unit), pair);
    };
    (add(units + kPair * tile.pair_bytes, part[kPair]), ...);
    units += kUnitBytes;
    activations += 32 / kBits;
  }
  (Store<2>(Decode<kBits, 0, 1>(scales, tile.step_sums[0], part[kPair]), kPair, sums), ...);
}

template <int kBits>
void CountRow(const QconvRows& tile, const uint8_t* units, int32_t* sums) {
  constexpr Indices<0, 1, 2, 3> kPairs;
  if constexpr (kBits == 4) {
    CountStreams<kBits>(Indices<0, 1>(), kPairs, tile, units, sums);
  } else {
    CountStreams<kBits>(Indices<0, 1, 2, 3>(), kPairs, tile, units, sums);
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
  if (form.blocks == kQconvStreamBlocks) {
    return form.rows == 1 && !form.listed ? CountRow<kBits> : nullptr;
  }
  if (form.listed) {
    return form.blocks == 2 ? TileOf<kBits, 2, true>(form.rows) : TileOf<kBits, 1, true>(form.rows);
  }
  return form.blocks == 2 ? TileOf<kBits, 2, false>(form.rows) : TileOf<kBits, 1, false>(form.rows);
}

}  // namespace

QconvRowsFn QconvRowsOfAvx512Vpopcnt(const QconvRowsForm& form) {
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
