// Eight channels a vector, four pixels at a time so that a load of thresholds serves four
// comparisons. A code is levels - 1 plus the sum of comparisons that failed (-1 each): one load and
// four times comparison and addition a threshold. From kSearchLevels levels on, the thresholds of
// each lane are searched by halves instead, one gather a step.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/requant/requant.h"

namespace bitmill {

void RequantAvx2(const RequantArgs& args);

namespace {

constexpr int32_t kLanes = 8;
constexpr int32_t kPixels = 4;
constexpr int32_t kSearchLevels = 64;  // a gather costs about as much as eight comparisons

inline __m256i LaneMask(int32_t lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), index);
}

inline __m256i LoadInts(const int32_t* values) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
}

// Eight channels of up to kPixels pixels.
struct Tile {
  const int32_t* acc;
  int32_t pixels, channel, lanes;
};

inline void LoadTile(const RequantArgs& args, const Tile& tile, __m256i* acc) {
  for (int32_t p = 0; p < kPixels; ++p) {
    const int32_t row = p < tile.pixels ? p : 0;
    const int32_t* values = tile.acc + row * args.acc_pixel + tile.channel;
    acc[p] = tile.lanes == kLanes ? LoadInts(values)
                                  : _mm256_maskload_epi32(values, LaneMask(tile.lanes));
  }
}

// The low bytes of the tile's numbers, 0 to 255: 8 bytes a pixel.
inline void StoreTile(const RequantArgs& args, const Tile& tile, const __m256i* codes,
                      uint8_t* out) {
  const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(codes[0], codes[1]),
                                            _mm256_packus_epi32(codes[2], codes[3]));
  alignas(32) uint64_t pixels[kPixels];
  _mm256_store_si256(reinterpret_cast<__m256i*>(pixels),
                     _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  for (int32_t p = 0; p < tile.pixels; ++p) {
    uint8_t* place = out + p * args.out_pixel + tile.channel;
    if (tile.lanes == kLanes) {
      memcpy(place, &pixels[p], sizeof(pixels[p]));
      continue;
    }
    for (int32_t i = 0; i < tile.lanes; ++i) place[i] = static_cast<uint8_t>(pixels[p] >> (8 * i));
  }
}

inline void BitsTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  __m256i acc[kPixels];
  LoadTile(args, tile, acc);
  const __m256i threshold = LoadInts(args.thresholds + tile.channel);
  const int keep = (1 << tile.lanes) - 1;
  for (int32_t p = 0; p < tile.pixels; ++p) {
    const __m256i below = _mm256_cmpgt_epi32(threshold, acc[p]);
    const int bits = _mm256_movemask_ps(_mm256_castsi256_ps(below)) & keep;
    out[p * args.out_pixel + tile.channel / 8] = static_cast<uint8_t>(bits);
  }
}

inline void CompareTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  const int64_t row = (int64_t{args.channels} + kLanes - 1) / kLanes * kLanes;
  __m256i acc[kPixels], codes[kPixels];
  LoadTile(args, tile, acc);
  for (int32_t p = 0; p < kPixels; ++p) codes[p] = _mm256_set1_epi32(args.levels - 1);
  const int32_t* thresholds = args.thresholds + tile.channel;
  for (int32_t i = 0; i < args.levels - 1; ++i, thresholds += row) {
    const __m256i threshold = LoadInts(thresholds);
    for (int32_t p = 0; p < kPixels; ++p) {
      codes[p] = _mm256_add_epi32(codes[p], _mm256_cmpgt_epi32(threshold, acc[p]));
    }
  }
  StoreTile(args, tile, codes, out);
}

// Each lane looks for the number of thresholds that are at most its sum.
inline void SearchTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  const int32_t row = (args.channels + kLanes - 1) / kLanes * kLanes;
  const __m256i rows = _mm256_set1_epi32(row);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int32_t* thresholds = args.thresholds + tile.channel;
  const __m256i top = _mm256_set1_epi32(args.levels - 2);
  int32_t first_step = 1;
  while (first_step * 2 <= args.levels - 1) first_step *= 2;
  __m256i acc[kPixels], codes[kPixels];
  LoadTile(args, tile, acc);
  for (int32_t p = 0; p < kPixels; ++p) codes[p] = _mm256_setzero_si256();
  for (int32_t step = first_step; step > 0; step /= 2) {
    for (int32_t p = 0; p < kPixels; ++p) {
      // Counts step more if there is such a threshold and it is at most the sum.
      const __m256i index = _mm256_add_epi32(codes[p], _mm256_set1_epi32(step - 1));
      const __m256i beyond = _mm256_cmpgt_epi32(index, top);
      const __m256i place =
          _mm256_add_epi32(_mm256_mullo_epi32(_mm256_min_epi32(index, top), rows), lane);
      const __m256i above =
          _mm256_cmpgt_epi32(_mm256_i32gather_epi32(thresholds, place, 4), acc[p]);
      const __m256i taken =
          _mm256_andnot_si256(_mm256_or_si256(beyond, above), _mm256_set1_epi32(step));
      codes[p] = _mm256_add_epi32(codes[p], taken);
    }
  }
  StoreTile(args, tile, codes, out);
}

// vmaxps gives its second operand, zero, for not a number.
inline void AffineTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  const __m256 scale = _mm256_loadu_ps(args.scale + tile.channel);
  const __m256 bias = _mm256_loadu_ps(args.bias + tile.channel);
  const __m256 top = _mm256_set1_ps(static_cast<float>(args.levels - 1));
  __m256i acc[kPixels], codes[kPixels];
  LoadTile(args, tile, acc);
  for (int32_t p = 0; p < kPixels; ++p) {
    const __m256 value = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[p]), scale), bias);
    const __m256 clamped = _mm256_min_ps(_mm256_max_ps(value, _mm256_setzero_ps()), top);
    codes[p] = _mm256_cvtps_epi32(clamped);
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
      tile.channel = c;
      tile.lanes = args.channels - c < kLanes ? args.channels - c : kLanes;
      kRun(args, tile, out + p * args.out_pixel);
    }
  }
}

}  // namespace

void RequantAvx2(const RequantArgs& args) {
  if (args.out_bits != nullptr) {
    RunTiles<BitsTile>(args);
  } else if (args.thresholds == nullptr) {
    RunTiles<AffineTile>(args);
  } else if (args.levels < kSearchLevels) {
    RunTiles<CompareTile>(args);
  } else {
    RunTiles<SearchTile>(args);
  }
}

}  // namespace bitmill
