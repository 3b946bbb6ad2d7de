// Sixteen channels a vector, four pixels at a time so that a load of thresholds serves four
// comparisons; an addition under the comparison's mask counts. Many levels are searched by halves,
// which the AVX2 kernel does.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/requant/requant.h"

namespace bitmill {

void RequantAvx2(const RequantArgs& args);
void RequantAvx512(const RequantArgs& args);

namespace {

constexpr int32_t kLanes = 16;
constexpr int32_t kPixels = 4;
constexpr int32_t kSearchLevels = 128;

// Sixteen channels of up to kPixels pixels.
struct Tile {
  const int32_t* acc;
  int32_t pixels, channel;
  __mmask16 lanes;
};

inline __m512i LoadPixel(const RequantArgs& args, const Tile& tile, int32_t p) {
  const int32_t row = p < tile.pixels ? p : 0;
  return _mm512_maskz_loadu_epi32(tile.lanes, tile.acc + row * args.acc_pixel + tile.channel);
}

inline void StoreTile(const RequantArgs& args, const Tile& tile, const __m512i* codes,
                      uint8_t* out) {
  for (int32_t p = 0; p < tile.pixels; ++p) {
    _mm_mask_storeu_epi8(out + p * args.out_pixel + tile.channel, tile.lanes,
                         _mm512_cvtepi32_epi8(codes[p]));
  }
}

inline void BitsTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  const __m512i threshold = _mm512_maskz_loadu_epi32(tile.lanes, args.thresholds + tile.channel);
  for (int32_t p = 0; p < tile.pixels; ++p) {
    const __mmask16 below =
        static_cast<__mmask16>(_mm512_cmpgt_epi32_mask(threshold, LoadPixel(args, tile, p)));
    const uint16_t bits = static_cast<uint16_t>(below & tile.lanes);
    uint8_t* place = out + p * args.out_pixel + tile.channel / 8;
    if (tile.lanes > 0xff) {
      memcpy(place, &bits, sizeof(bits));
    } else {
      *place = static_cast<uint8_t>(bits);
    }
  }
}

inline void CompareTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  const int64_t row = (int64_t{args.channels} + 7) / 8 * 8;
  const __m512i one = _mm512_set1_epi32(1);
  __m512i acc[kPixels], codes[kPixels];
  for (int32_t p = 0; p < kPixels; ++p) {
    acc[p] = LoadPixel(args, tile, p);
    codes[p] = _mm512_setzero_si512();
  }
  const int32_t* thresholds = args.thresholds + tile.channel;
  for (int32_t i = 0; i < args.levels - 1; ++i, thresholds += row) {
    const __m512i threshold = _mm512_maskz_loadu_epi32(tile.lanes, thresholds);
    for (int32_t p = 0; p < kPixels; ++p) {
      const __mmask16 reached = static_cast<__mmask16>(_mm512_cmpge_epi32_mask(acc[p], threshold));
      codes[p] = _mm512_mask_add_epi32(codes[p], reached, codes[p], one);
    }
  }
  StoreTile(args, tile, codes, out);
}

// vmaxps gives its second operand, zero, for not a number.
inline void AffineTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  const __m512 scale = _mm512_maskz_loadu_ps(tile.lanes, args.scale + tile.channel);
  const __m512 bias = _mm512_maskz_loadu_ps(tile.lanes, args.bias + tile.channel);
  const __m512 top = _mm512_set1_ps(static_cast<float>(args.levels - 1));
  __m512i codes[kPixels];
  for (int32_t p = 0; p < kPixels; ++p) {
    const __m512 acc = _mm512_cvtepi32_ps(LoadPixel(args, tile, p));
    const __m512 value = _mm512_add_ps(_mm512_mul_ps(acc, scale), bias);
    const __m512 from_zero = _mm512_max_ps(value, _mm512_setzero_ps());
    codes[p] = _mm512_cvtps_epi32(_mm512_min_ps(from_zero, top));
  }
  StoreTile(args, tile, codes, out);
}

using TileFn = void (*)(const RequantArgs& args, const Tile& tile, uint8_t* out);

template <TileFn kRun>
void RunTiles(const RequantArgs& args) {
  uint8_t* out = args.out_bits != nullptr ? args.out_bits : args.out_codes;
  for (int32_t p = 0; p < args.pixels; p += kPixels) {
    Tile tile;
    tile.acc = args.acc + p * args.acc_pixel;
    tile.pixels = args.pixels - p < kPixels ? args.pixels - p : kPixels;
    for (int32_t c = 0; c < args.channels; c += kLanes) {
      const int32_t left = args.channels - c;
      tile.channel = c;
      tile.lanes = static_cast<__mmask16>(left >= kLanes ? 0xffff : (1 << left) - 1);
      kRun(args, tile, out + p * args.out_pixel);
    }
  }
}

}  // namespace

void RequantAvx512(const RequantArgs& args) {
  if (args.out_bits != nullptr) {
    RunTiles<BitsTile>(args);
  } else if (args.thresholds == nullptr) {
    RunTiles<AffineTile>(args);
  } else if (args.levels < kSearchLevels) {
    RunTiles<CompareTile>(args);
  } else {
    RequantAvx2(args);
  }
}

}  // namespace bitmill
