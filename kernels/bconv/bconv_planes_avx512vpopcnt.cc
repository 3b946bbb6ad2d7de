// Float outputs as planes, where a pixel is one word: a lane is an output pixel, so that eight
// neighbours are one load, nothing is transposed, and a store is a line of the cache.
//
// Tile: 16 pixels x 8 output channels, 16 sums in registers. A step of one word is 2 loads of
// pixels, 8 broadcasts of weights (from memory, no vector port) and 16 times xor, popcount, add.
// The last 8 pixels of a line overlap those before where its width is no multiple of 8; what is in
// both is stored twice.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/bconv/bconv_differences_avx512.h"
#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kBlockChannels = 8;
constexpr int64_t kTilePixels = 2 * kLanes;
constexpr int64_t kListTiles = 56;
constexpr int64_t kMostWords = 64;  // of a window

// Pixels of one class of a tile: `base` of its first channel.
struct ClassLanes {
  const int32_t* base;
  __mmask16 lanes;
};

// Two times eight neighbouring pixels.
struct PlaneTile {
  const uint64_t* windows[2];
  int64_t out[2];
  int32_t classes;  // at least 1; the first one has all lanes that no other has
  ClassLanes of_class[kTilePixels];
};

// One word of eight channels. kFirst: sums begin with it.
template <int kPlanes, bool kFirst>
inline __attribute__((always_inline)) void CountWord(const PlaneTile& tile, int64_t word,
                                                     const uint64_t* weights,
                                                     __m512i (*sums)[kBlockChannels]) {
  const __m512i a = _mm512_loadu_si512(tile.windows[0] + word);
  const __m512i b = _mm512_loadu_si512(tile.windows[1] + word);
#pragma GCC unroll 8
  for (int c = 0; c < kBlockChannels; ++c) {
    const __m512i w = _mm512_set1_epi64(static_cast<int64_t>(weights[c]));
    const __m512i s =
        kPlanes == 2 ? _mm512_set1_epi64(static_cast<int64_t>(weights[kBlockChannels + c])) : w;
    const __m512i first = _mm512_popcnt_epi64(Differences<kPlanes>(a, w, s));
    const __m512i second = _mm512_popcnt_epi64(Differences<kPlanes>(b, w, s));
    sums[0][c] = kFirst ? first : _mm512_add_epi64(sums[0][c], first);
    sums[1][c] = kFirst ? second : _mm512_add_epi64(sums[1][c], second);
  }
}

// `base` of a channel for each pixel.
inline __m512i BasesOf(const PlaneTile& tile, int64_t channel) {
  __m512i bases = _mm512_set1_epi32(tile.of_class[0].base[channel]);
  for (int32_t i = 1; i < tile.classes; ++i) {
    const ClassLanes& some = tile.of_class[i];
    bases = _mm512_mask_set1_epi32(bases, some.lanes, some.base[channel]);
  }
  return bases;
}

// Up to eight channels from `channel` on. The lines of cache that the outputs will lie in are asked
// for before they are counted.
template <int kPlanes>
inline __attribute__((always_inline)) void RunTile(const BconvArgs& args, const PlaneTile& tile,
                                                   const int32_t* places, int64_t words,
                                                   const uint64_t* weights, int64_t channel) {
  const int64_t left = args.out_channels - channel;
  const int64_t count = left < kBlockChannels ? left : kBlockChannels;
  float* const to[2] = {args.out_float + tile.out[0] + channel * args.out_channel,
                        args.out_float + tile.out[1] + channel * args.out_channel};
  for (int64_t c = 0; c < count; ++c) {
    _mm_prefetch(reinterpret_cast<const char*>(to[0] + c * args.out_channel), _MM_HINT_T0);
  }
  __m512i sums[2][kBlockChannels];
  CountWord<kPlanes, true>(tile, places[0], weights, sums);
  for (int64_t i = 1; i < words; ++i) {
    weights += kPlanes * kBlockChannels;
    CountWord<kPlanes, false>(tile, places[i], weights, sums);
  }
  const bool adjacent = tile.out[1] - tile.out[0] == kLanes;
  const __m512i low_halves =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#pragma GCC unroll 8
  for (int c = 0; c < kBlockChannels; ++c) {
    if (c >= count) break;
    const __m512i x = _mm512_permutex2var_epi32(sums[0][c], low_halves, sums[1][c]);
    const __m512i acc = _mm512_sub_epi32(BasesOf(tile, channel + c), _mm512_add_epi32(x, x));
    const __m512 scaled =
        _mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_set1_ps(args.scale[channel + c]));
    const __m512 value = _mm512_add_ps(scaled, _mm512_set1_ps(args.bias[channel + c]));
    if (adjacent) {
      _mm512_storeu_ps(to[0] + c * args.out_channel, value);
    } else {
      _mm256_storeu_ps(to[0] + c * args.out_channel, _mm512_castps512_ps256(value));
      _mm256_storeu_ps(to[1] + c * args.out_channel, _mm512_extractf32x8_ps(value, 1));
    }
  }
}

// Classes of both halves of a tile.
void AddClasses(const BconvArgs& args, const int32_t* table_rows, PlaneTile* tile) {
  tile->classes = 0;
  uint32_t done = 0;
  for (int32_t i = 0; i < kTilePixels; ++i) {
    if (((done >> i) & 1) != 0) continue;
    uint32_t lanes = 0;
    for (int32_t j = i; j < kTilePixels; ++j) {
      lanes |= static_cast<uint32_t>(table_rows[j] == table_rows[i]) << j;
    }
    done |= lanes;
    tile->of_class[tile->classes++] = {args.base + table_rows[i], static_cast<__mmask16>(lanes)};
  }
}

// Eight pixels of a line.
struct Octet {
  const uint64_t* window;
  int64_t out;
  int64_t line, column;  // of its image
};

void FillTile(const BconvArgs& args, const Octet& first, const Octet& second, PlaneTile* tile) {
  const Octet* const halves[2] = {&first, &second};
  const int32_t padded = (args.out_channels + 7) / 8 * 8;
  int32_t table_rows[kTilePixels] = {};
  for (int h = 0; h < 2; ++h) {
    tile->windows[h] = halves[h]->window;
    tile->out[h] = halves[h]->out;
    if (args.row_class == nullptr) continue;
    const int32_t row = args.row_class[halves[h]->line] * args.col_classes;
    for (int64_t i = 0; i < kLanes; ++i) {
      table_rows[h * kLanes + i] = (row + args.col_class[halves[h]->column + i]) * padded;
    }
  }
  AddClasses(args, table_rows, tile);
}

template <int kPlanes>
void Run(const BconvArgs& args) {
  const BconvGroup group = BconvGroupOf(args, 0);
  int32_t scratch[kMostWords];
  const int32_t* const places = BconvPlacesOf(group, 0, group.words, scratch);
  PlaneTile tiles[kListTiles];
  int64_t count = 0;
  const auto run = [&] {
    const uint64_t* weights = group.weights;
    for (int64_t channel = 0; channel < args.out_channels; channel += kBlockChannels) {
      for (int64_t i = 0; i < count; ++i) {
        RunTile<kPlanes>(args, tiles[i], places, group.words, weights, channel);
      }
      weights += group.block_words;
    }
    count = 0;
  };
  const int64_t octets = (args.out_w + kLanes - 1) / kLanes;
  bool waits = false;
  Octet first = {};
  for (int64_t line = 0; line < int64_t{args.batch} * args.out_h; ++line) {
    const int64_t image = line / args.out_h, y = line % args.out_h;
    const uint64_t* const windows =
        args.input + image * args.image_words + y * args.stride_h * args.row_words;
    const int64_t out = image * args.out_image + y * args.out_row;
    for (int64_t i = 0; i < octets; ++i) {
      const int64_t x = i + 1 < octets ? i * kLanes : args.out_w - kLanes;
      const Octet octet = {windows + x, out + x, y, x};
      if (waits) {
        FillTile(args, first, octet, &tiles[count++]);
        if (count == kListTiles) run();
      }
      first = octet;
      waits = !waits;
    }
  }
  if (waits) FillTile(args, first, first, &tiles[count++]);
  run();
}

}  // namespace

// Windows of neighbours are neighbours themselves.
bool BconvStoresPlanesAvx512Vpopcnt(const BconvArgs& args) {
  return args.sparse == nullptr && args.pixel_words == 1 && args.stride_w == 1 &&
         args.out_pixel == 1 && args.out_w >= kLanes &&
         int64_t{args.taps} * args.c_words <= kMostWords;
}

void BconvPlanesAvx512Vpopcnt(const BconvArgs& args) {
  if (args.planes == 2) {
    Run<2>(args);
  } else {
    Run<1>(args);
  }
}

}  // namespace bitmill
