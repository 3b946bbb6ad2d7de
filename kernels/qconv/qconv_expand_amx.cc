// Weights of any kind as tiles of bytes: [tiles of steps][16 steps][16 channels][4 bytes].
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_tiles_amx.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;  // of a block

template <QconvWeights kKind>
inline __m512i ExpandStep(__m512i unit, int step) {
  if constexpr (kKind == QconvWeights::k1Bit) {
    const __m512i bit = _mm512_set1_epi8(static_cast<char>(1 << step));
    return _mm512_mask_blend_epi8(_mm512_test_epi8_mask(unit, bit), _mm512_set1_epi8(1),
                                  _mm512_set1_epi8(-1));
  } else if constexpr (kKind == QconvWeights::k8Bit) {
    return unit;
  } else {
    constexpr int kBits = kKind == QconvWeights::k2Bit ? 2 : 4;
    const __m512i low = _mm512_srli_epi16(unit, static_cast<unsigned>(step * kBits));
    const __m512i codes = _mm512_and_si512(low, _mm512_set1_epi8((1 << kBits) - 1));
    return _mm512_sub_epi8(codes, _mm512_set1_epi8(1 << (kBits - 1)));
  }
}

// All steps of 16 channels, or of the 8 of a last block alone: what lanes past them get, no output
// shows.
template <QconvWeights kKind, bool kAlone>
void ExpandSteps(const uint8_t* units, int64_t steps, int8_t* tiles) {
  constexpr int64_t kUnitBytes = kAlone ? 32 : 64;
  constexpr int kSteps = kKind == QconvWeights::k1Bit   ? 8
                         : kKind == QconvWeights::k2Bit ? 4
                         : kKind == QconvWeights::k4Bit ? 2
                                                        : 1;
  int64_t s = 0;
  for (; s < steps; s += kSteps, units += kUnitBytes) {
    const __m512i unit =
        kAlone ? _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(units)))
               : _mm512_loadu_si512(units);
#pragma GCC unroll 8
    for (int i = 0; i < kSteps; ++i) {
      _mm512_store_si512(tiles + (s + i) * kTileRowBytes, ExpandStep<kKind>(unit, i));
    }
  }
  const int64_t rows = RoundUpTo(steps, kQconvTileSteps);
  memset(tiles + steps * kTileRowBytes, 0, static_cast<size_t>((rows - steps) * kTileRowBytes));
}

}  // namespace

void ExpandQconvTilesAmx(const QconvArgs& args, int64_t tile, int8_t* tiles) {
  using ExpandFn = void (*)(const uint8_t* units, int64_t steps, int8_t* tiles);
  static constexpr ExpandFn kExpand[4][2] = {
      {ExpandSteps<QconvWeights::k1Bit, false>, ExpandSteps<QconvWeights::k1Bit, true>},
      {ExpandSteps<QconvWeights::k2Bit, false>, ExpandSteps<QconvWeights::k2Bit, true>},
      {ExpandSteps<QconvWeights::k4Bit, false>, ExpandSteps<QconvWeights::k4Bit, true>},
      {ExpandSteps<QconvWeights::k8Bit, false>, ExpandSteps<QconvWeights::k8Bit, true>}};
  const bool alone = args.out_channels - tile * kTileRows <= kLanes;
  const QconvBlock block = QconvBlockOf(args, tile * 2);
  kExpand[static_cast<int>(args.kind)][alone ? 1 : 0](block.units, args.steps, tiles);
}

}  // namespace bitmill
