// Outputs of tiles of sums. Private to files that end in _amx.cc.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "kernels/qconv/qconv_tiles_amx.h"

namespace bitmill {
namespace {  // a copy for each file, as each may have instructions of its own

// A register of sums; its number is part of the instruction.
inline void StoreCounts(int64_t tile, int32_t* counts, int64_t row_bytes) {
  switch (tile) {
    case 0:
      _tile_stored(0, counts, row_bytes);
      return;
    case 1:
      _tile_stored(1, counts, row_bytes);
      return;
    case 2:
      _tile_stored(2, counts, row_bytes);
      return;
    default:
      _tile_stored(3, counts, row_bytes);
      return;
  }
}

inline __mmask16 LanesFrom(const QconvArgs& args, int64_t channel) {
  const int64_t left = args.out_channels - channel;
  return left >= kTileRows ? 0xffff : left <= 0 ? 0 : static_cast<__mmask16>((1U << left) - 1);
}

// The pixels of a tile of positions whose sums are in registers `first` and, for 2 tiles of
// channels, the next one.
inline void StoreTile(const QconvArgs& args, const QconvGrid& grid, const QconvTile& tile,
                      int64_t channel, int first, int64_t channel_tiles) {
  alignas(64) int32_t counts[2 * kTileRows * kTileRows];
  for (int64_t c = 0; c < channel_tiles; ++c) {
    StoreCounts(first + c, counts + c * kTileRows, channel_tiles * kTileRowBytes);
  }
  const __mmask16 low = LanesFrom(args, channel), high = LanesFrom(args, channel + kTileRows);
  const int64_t sums_row = channel_tiles * kTileRows;
  const auto out_of = [&](const QconvTile& at) {
    return at.image * args.out_image + at.line * args.out_row + at.column * args.out_pixel +
           channel;
  };
  if (args.out_int32 != nullptr) {
    ForQconvRuns(args, grid, tile, [&](int64_t row, int64_t count, const QconvTile& at) {
      const int32_t* sums = counts + row * sums_row;
      int32_t* out = args.out_int32 + out_of(at);
      for (int64_t i = 0; i < count; ++i, sums += sums_row, out += args.out_pixel) {
        _mm512_mask_storeu_epi32(out, low, _mm512_load_si512(sums));
        if (channel_tiles == 1) continue;
        _mm512_mask_storeu_epi32(out + kTileRows, high, _mm512_load_si512(sums + kTileRows));
      }
    });
    return;
  }
  const float* const scales = args.scale + channel;
  const float* const biases = args.bias + channel;
  const __m512 scale[2] = {_mm512_maskz_loadu_ps(low, scales),
                           _mm512_maskz_loadu_ps(high, scales + kTileRows)};
  const __m512 bias[2] = {_mm512_maskz_loadu_ps(low, biases),
                          _mm512_maskz_loadu_ps(high, biases + kTileRows)};
  const auto scaled = [&](const int32_t* sums, int c) {
    const __m512 value = _mm512_cvtepi32_ps(_mm512_load_si512(sums));
    return _mm512_add_ps(_mm512_mul_ps(value, scale[c]), bias[c]);
  };
  ForQconvRuns(args, grid, tile, [&](int64_t row, int64_t count, const QconvTile& at) {
    const int32_t* sums = counts + row * sums_row;
    float* out = args.out_float + out_of(at);
    for (int64_t i = 0; i < count; ++i, sums += sums_row, out += args.out_pixel) {
      _mm512_mask_storeu_ps(out, low, scaled(sums, 0));
      if (channel_tiles == 1) continue;
      _mm512_mask_storeu_ps(out + kTileRows, high, scaled(sums + kTileRows, 1));
    }
  });
}

}  // namespace
}  // namespace bitmill
