// Weights of any kind as tiles of bytes: [tiles of steps][16 steps][16 channels][4 bytes].
//
// A bit of the byte is one of the code's or its complement, so one product of bits by a matrix
// (gf2p8affineqb) makes 64 weights: w = code - 2^(bits - 1) has the code's bits below the highest
// and the complement of the highest from there on; of 1 bit, 1 or -1, bit 0 is set and the others
// are the code.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/qconv/qconv_tiles_amx.h"

namespace bitmill {
namespace {

// What is added (modulo 2) to the product.
template <int kBits>
constexpr int kComplement = kBits == 1 ? 0x01 : 0xff << (kBits - 1) & 0xff;

// Byte 7 - i names the bits of the unit that bit i of the weight is the sum of.
template <int kBits>
constexpr uint64_t MatrixOf(int step) {
  uint64_t matrix = 0;
  for (int bit = 0; bit < 8; ++bit) {
    const int from = bit < kBits - 1 ? bit : kBits - 1;
    const uint64_t row = kBits == 1 && bit == 0 ? 0 : uint64_t{1} << (step * kBits + from);
    matrix |= row << (8 * (7 - bit));
  }
  return matrix;
}

template <int kBits>
inline __m512i ExpandStep(__m512i unit, int step) {
  if constexpr (kBits == 8) return unit;
  const __m512i matrix = _mm512_set1_epi64(static_cast<int64_t>(MatrixOf<kBits>(step)));
  return _mm512_gf2p8affine_epi64_epi8(unit, matrix, kComplement<kBits>);
}

// A unit, of which `steps` are weights and the others become zeros.
template <int kBits, bool kWhole>
inline void ExpandUnit(__m512i unit, int64_t steps, int8_t* rows) {
#pragma GCC unroll 8
  for (int i = 0; i < 8 / kBits; ++i) {
    const bool zero = !kWhole && i >= steps;
    _mm512_store_si512(rows + i * kTileRowBytes,
                       zero ? _mm512_setzero_si512() : ExpandStep<kBits>(unit, i));
  }
}

template <int kBits>
void ExpandTile(QconvExpansion& expansion) {
  constexpr int64_t kSteps = 8 / kBits;
  constexpr int64_t kUnits = kQconvTileSteps / kSteps;
  const uint8_t* units = expansion.units;
  int8_t* rows = expansion.tiles;
  if (expansion.unit_bytes == kTileRowBytes && expansion.steps >= kQconvTileSteps) {
#pragma GCC unroll 16
    for (int64_t u = 0; u < kUnits; ++u) {
      ExpandUnit<kBits, true>(_mm512_loadu_si512(units + u * kTileRowBytes), kSteps,
                              rows + u * kSteps * kTileRowBytes);
    }
    expansion.units = units + kUnits * kTileRowBytes;
  } else {
    for (int64_t u = 0; u < kUnits; ++u, rows += kSteps * kTileRowBytes) {
      const int64_t left = expansion.steps - u * kSteps;
      __m512i unit = _mm512_setzero_si512();
      if (left > 0) {
        const auto* const half = reinterpret_cast<const __m256i*>(units);
        unit = expansion.unit_bytes == kTileRowBytes
                   ? _mm512_loadu_si512(units)
                   : _mm512_castsi256_si512(_mm256_loadu_si256(half));
        units += expansion.unit_bytes;
      }
      ExpandUnit<kBits, false>(unit, left, rows);
    }
    expansion.units = units;
  }
  expansion.steps -= kQconvTileSteps;
  expansion.tiles += kTileBytes;
}

}  // namespace

QconvExpansion QconvExpansionOf(const QconvArgs& args, int64_t channel_tile, int8_t* tiles) {
  const QconvBlock block = QconvBlockOf(args, channel_tile * 2);
  return {block.units, block.unit_stride, args.steps, tiles};
}

QconvExpandFn QconvExpandTileAmx(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return ExpandTile<1>;
    case QconvWeights::k2Bit:
      return ExpandTile<2>;
    case QconvWeights::k4Bit:
      return ExpandTile<4>;
    case QconvWeights::k8Bit:
      break;
  }
  return ExpandTile<8>;
}

}  // namespace bitmill
