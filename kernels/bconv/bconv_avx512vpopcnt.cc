// Exclusive or, vpopcntq, vpaddq: a lane is an output channel, so nothing is summed across lanes.
//
// Tile: 7 pixels x 16 output channels, 14 sums in registers. A step of one word is 2 loads of
// weights, 7 broadcasts (from memory, no vector port) and 14 times xor, popcount, add: 42
// operations on two 512-bit ports, 21 cycles for 7,168 products, 341 MAC a cycle. 7 divides the
// widths of residual networks. Ternary: one vpternlog, mask and (a xor sign), in place of the xor.
// Outputs are made of the registers of the sums, 2 operations for 16 bits of a pixel: 9 words of a
// window take 190 cycles, and storing and loading sums in between would add 60.
// One pixel alone (a matrix times a vector) takes 32 channels instead and is bound by memory.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_differences_avx512.h"
#include "kernels/bconv/bconv_finish_avx512.h"
#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvAvx512Vpopcnt(const BconvArgs& args);
bool BconvFinishesAvx512Vpopcnt(const BconvArgs& args);
void BconvPlanesAvx512Vpopcnt(const BconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kTilePixels = 7;
constexpr int64_t kTileBlocks = 2;
constexpr int64_t kVectorBlocks = 4;       // of a tile of one pixel
constexpr int64_t kFarWords = 512 * 1024;  // more weights lie far beyond the second-level cache
constexpr int64_t kListPixels = 32 * kTilePixels;
constexpr int64_t kMostFinishedWords = 9;  // of a window, where outputs are finished here
constexpr int64_t kMostPlaces = 576;       // words of a window that are listed

// Adds one word of kBlocks blocks for kPixels windows. kAhead: asks for the same word of the blocks
// behind them.
template <int kPlanes, int kBlocks, int kPixels, bool kAhead>
inline __attribute__((always_inline)) void CountWord(const uint64_t* const* windows, int64_t word,
                                                     const uint64_t* weights, int64_t block_words,
                                                     __m512i (*sums)[kPixels]) {
  __m512i w[kBlocks], s[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    w[b] = _mm512_loadu_si512(weights + b * block_words);
    s[b] = kPlanes == 2 ? _mm512_loadu_si512(weights + b * block_words + kLanes) : w[b];
    if constexpr (kAhead) {
      for (int i = 0; i < kPlanes; ++i) {
        const uint64_t* const ahead = weights + (b + kBlocks) * block_words + i * kLanes;
        _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
      }
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    const __m512i a = _mm512_set1_epi64(static_cast<int64_t>(windows[p][word]));
    for (int b = 0; b < kBlocks; ++b) {
      const __m512i bits = Differences<kPlanes>(a, w[b], s[b]);
      sums[b][p] = _mm512_add_epi64(sums[b][p], _mm512_popcnt_epi64(bits));
    }
  }
}

// Counts of kBlocks blocks of a group, whose weights are at `weights`, for kPixels windows.
template <int kPlanes, int kBlocks, int kPixels, bool kAhead>
inline __attribute__((always_inline)) void CountTile(const BconvGroup& group,
                                                     const BconvPixel* pixels,
                                                     const uint64_t* weights,
                                                     __m512i (*sums)[kPixels]) {
  const int64_t block_words = group.block_words;
  for (int b = 0; b < kBlocks; ++b) {
    for (int p = 0; p < kPixels; ++p) sums[b][p] = _mm512_setzero_si512();
  }
  const uint64_t* windows[kPixels];
  for (int p = 0; p < kPixels; ++p) windows[p] = pixels[p].window;
  if (group.c_words == 1) {
    for (int64_t t = 0; t < group.taps; ++t, weights += kPlanes * kLanes) {
      CountWord<kPlanes, kBlocks, kPixels, kAhead>(windows, group.tap_words[t], weights,
                                                   block_words, sums);
    }
  } else {
    for (int64_t t = 0; t < group.taps; ++t) {
      const int64_t first = group.tap_words[t];
      const int64_t end = first + group.c_words;
      for (int64_t word = first; word < end; ++word, weights += kPlanes * kLanes) {
        CountWord<kPlanes, kBlocks, kPixels, kAhead>(windows, word, weights, block_words, sums);
      }
    }
  }
}

enum class Output { kBits, kInts, kFloats };

// The low halves of two blocks of counts.
inline __m512i Join(__m512i first, __m512i second) {
  const __m512i low_halves =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_permutex2var_epi32(first, low_halves, second);
}

// Outputs of two blocks, straight from the registers of their counts: for a finished 16 bits of a
// pixel one permutation and one comparison with limits in memory.
template <Output kOutput, int kPixels>
inline __attribute__((always_inline)) void StorePair(const BconvArgs& args,
                                                     const BconvPixel* pixels, int64_t channel,
                                                     const __m512i* first, const __m512i* second) {
  const int64_t left = args.out_channels - channel;
  const uint32_t all = left >= 2 * kLanes ? 0xffff : (uint32_t{1} << left) - 1;
  const auto lanes = static_cast<__mmask16>(all);
  for (int p = 0; p < kPixels; ++p) {
    const __m512i x = Join(first[p], second[p]);
    if constexpr (kOutput == Output::kBits) {
      const __m512i limits = _mm512_loadu_si512(args.limits + channel + pixels[p].table_row);
      const auto bits = static_cast<uint16_t>(_mm512_cmpgt_epi32_mask(x, limits) & all);
      memcpy(args.out_bits + channel / 8 + pixels[p].out, &bits, sizeof(bits));
      continue;
    }
    const __m512i base = _mm512_loadu_si512(args.base + channel + pixels[p].table_row);
    const __m512i acc = _mm512_sub_epi32(base, _mm512_add_epi32(x, x));
    if constexpr (kOutput == Output::kInts) {
      _mm512_mask_storeu_epi32(args.out_int32 + channel + pixels[p].out, lanes, acc);
    } else {
      const __m512 scaled =
          _mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_loadu_ps(args.scale + channel));
      const __m512 value = _mm512_add_ps(scaled, _mm512_loadu_ps(args.bias + channel));
      _mm512_mask_storeu_ps(args.out_float + channel + pixels[p].out, lanes, value);
    }
  }
}

// `tiles` tiles of kPixels pixels and kBlocks blocks, 1 or pairs.
template <Output kOutput, int kPlanes, int kBlocks, int kPixels, bool kAhead = false>
void RunTiles(const BconvArgs& args, const BconvGroup& group, const BconvPixel* pixels,
              int64_t tiles, const uint64_t* weights, int64_t channel) {
  for (int64_t i = 0; i < tiles; ++i, pixels += kPixels) {
    __m512i sums[kBlocks][kPixels];
    CountTile<kPlanes, kBlocks, kPixels, kAhead>(group, pixels, weights, sums);
    if constexpr (kBlocks == 1) {
      alignas(64) uint64_t counts[kPixels * kLanes];
      for (int p = 0; p < kPixels; ++p) _mm512_store_si512(counts + p * kLanes, sums[0][p]);
      StoreBconvTileAvx512(args, pixels, kPixels, channel, 1, counts);
    } else {
      for (int b = 0; b < kBlocks; b += 2) {
        StorePair<kOutput, kPixels>(args, pixels, channel + b * kLanes, sums[b], sums[b + 1]);
      }
    }
  }
}

using TilesFn = void (*)(const BconvArgs& args, const BconvGroup& group, const BconvPixel* pixels,
                         int64_t tiles, const uint64_t* weights, int64_t channel);

template <Output kOutput, int kPlanes, int kBlocks>
TilesFn TilesFor(int64_t pixels) {
  static constexpr TilesFn kFns[kTilePixels] = {
      RunTiles<kOutput, kPlanes, kBlocks, 1>, RunTiles<kOutput, kPlanes, kBlocks, 2>,
      RunTiles<kOutput, kPlanes, kBlocks, 3>, RunTiles<kOutput, kPlanes, kBlocks, 4>,
      RunTiles<kOutput, kPlanes, kBlocks, 5>, RunTiles<kOutput, kPlanes, kBlocks, 6>,
      RunTiles<kOutput, kPlanes, kBlocks, 7>};
  return kFns[pixels - 1];
}

// All listed pixels of kBlocks blocks from `channel` of the group on.
template <Output kOutput, int kPlanes, int kBlocks>
void RunBlocks(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
               const BconvGroup& group, int64_t channel) {
  const uint64_t* weights = group.weights + channel / kLanes * group.block_words;
  const int64_t tiles = pixel_count / kTilePixels;
  const int64_t rest = pixel_count - tiles * kTilePixels;
  const int64_t first = group.channel + channel;
  if (tiles > 0) {  // its weights were asked for by the channels before
    RunTiles<kOutput, kPlanes, kBlocks, kTilePixels, true>(args, group, pixels, 1, weights, first);
    RunTiles<kOutput, kPlanes, kBlocks, kTilePixels>(args, group, pixels + kTilePixels, tiles - 1,
                                                     weights, first);
  }
  if (rest == 0) return;
  TilesFor<kOutput, kPlanes, kBlocks>(rest)(args, group, pixels + tiles * kTilePixels, 1, weights,
                                            first);
}

// All listed pixels of a group; `alone`: there is only one.
template <Output kOutput, int kPlanes>
void RunGroup(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
              const BconvGroup& group, bool alone) {
  constexpr int64_t kVectorChannels = kVectorBlocks * kLanes;
  const bool far = group.channels / kLanes * group.block_words > kFarWords;
  int64_t channel = 0;
  for (; alone && channel + kVectorChannels <= group.channels; channel += kVectorChannels) {
    const uint64_t* weights = group.weights + channel / kLanes * group.block_words;
    // What the processor fetches ahead by itself ends with a page, which costs 20 to 30 % where all
    // comes from the third-level cache; where half does, asking costs 5 %.
    const auto run = far ? RunTiles<kOutput, kPlanes, kVectorBlocks, 1, true>
                         : RunTiles<kOutput, kPlanes, kVectorBlocks, 1>;
    run(args, group, pixels, 1, weights, group.channel + channel);
  }
  for (; channel < group.channels; channel += kTileBlocks * kLanes) {
    if (group.channels - channel > kLanes) {
      RunBlocks<kOutput, kPlanes, kTileBlocks>(args, pixels, pixel_count, group, channel);
    } else {
      RunBlocks<kOutput, kPlanes, 1>(args, pixels, pixel_count, group, channel);
    }
  }
}

template <Output kOutput, int kPlanes>
void Run(const BconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t groups = BconvGroupCount(args);
  BconvPixel list[kListPixels];
  int32_t places[kMostPlaces];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListBconvPixels(args, first, count, list);
    for (int64_t g = 0; g < groups; ++g) {
      BconvGroup group = BconvGroupOf(args, g);
      if (group.words <= kMostPlaces) {
        // One loop over all words: the ends of short ones would be mispredicted.
        group.tap_words = BconvPlacesOf(group, 0, group.words, places);
        group.taps = group.words;
        group.c_words = 1;
      }
      RunGroup<kOutput, kPlanes>(args, list, count, group, pixels == 1);
    }
  }
}

// A tile's pixels, neighbours in one line.
struct LineTile {
  int64_t image, line, column, count;
};

// Up to 16 channels of a tile with what follows them. Maps that are added to the outputs, and the
// lines of cache that these will lie in, are asked for while the tile is counted.
template <int kPlanes, int kBlocks, int kPixels, bool kAhead = false>
void FinishTile(const BconvArgs& args, const BconvGroup& group, const LineTile& tile,
                const BconvPixel* pixels, int64_t channel) {
  const int64_t out = pixels->out;
  const auto fetch = [&](const float* map) {
    for (int p = 0; p < kPixels; ++p) {
      const float* const at = map + out + channel + p * args.out_pixel;
      _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
    }
  };
  for (int32_t i = 0; i < args.finish->count; ++i) {
    if (args.finish->ops[i].map != nullptr) fetch(args.finish->ops[i].map);
  }
  fetch(args.out_float);
  __m512i sums[kBlocks][kPixels];
  CountTile<kPlanes, kBlocks, kPixels, kAhead>(
      group, pixels, group.weights + channel / kLanes * group.block_words, sums);
  const int64_t left = args.out_channels - channel;
  const auto lanes = static_cast<__mmask16>(left >= kSpanLanes ? 0xffff : (1U << left) - 1);
  const int32_t* bases[kPixels];
  for (int p = 0; p < kPixels; ++p) bases[p] = args.base + channel + pixels[p].table_row;
  const BconvSpan span = {tile.image, tile.line, tile.column, kPixels, out, channel, nullptr, 0};
  // Without masks the compiler folds loads into what uses them, which is slower here.
  const Half<false> half = {args, span, bases, channel, lanes};
  FinishHalf<kPixels>(
      half, [&](int p)
                __attribute__((always_inline)) { return Join(sums[0][p], sums[kBlocks - 1][p]); });
}

using FinishFn = void (*)(const BconvArgs& args, const BconvGroup& group, const LineTile& tile,
                          const BconvPixel* pixels, int64_t channel);

template <int kPlanes, int kBlocks>
FinishFn FinishFor(int64_t pixels) {
  static constexpr FinishFn kFns[kTilePixels] = {
      FinishTile<kPlanes, kBlocks, 1>, FinishTile<kPlanes, kBlocks, 2>,
      FinishTile<kPlanes, kBlocks, 3>, FinishTile<kPlanes, kBlocks, 4>,
      FinishTile<kPlanes, kBlocks, 5>, FinishTile<kPlanes, kBlocks, 6>,
      FinishTile<kPlanes, kBlocks, 7>};
  return kFns[pixels - 1];
}

// Tiles of some lines for all channels: their activations stay in the first-level cache.
template <int kPlanes>
void RunFinished(const BconvArgs& args) {
  constexpr int64_t kMostTiles = kListPixels / 4;
  const int64_t pieces = (args.out_w + kTilePixels - 1) / kTilePixels;
  BconvPixel list[kListPixels];
  LineTile tiles[kMostTiles];
  int32_t places[kMostPlaces];
  BconvGroup group = BconvGroupOf(args, 0);
  if (group.words <= kMostPlaces) {
    group.tap_words = BconvPlacesOf(group, 0, group.words, places);
    group.taps = group.words;
    group.c_words = 1;
  }
  const auto run = [&](int64_t count) {
    for (int64_t channel = 0; channel < args.out_channels; channel += kSpanLanes) {
      const bool pair = args.out_channels - channel > kLanes;
      const BconvPixel* pixels = list;
      for (int64_t i = 0; i < count; pixels += tiles[i++].count) {
        const FinishFn finish =
            pair ? FinishFor<kPlanes, 2>(tiles[i].count) : FinishFor<kPlanes, 1>(tiles[i].count);
        finish(args, group, tiles[i], pixels, channel);
      }
    }
  };
  int64_t listed = 0, count = 0;
  for (int64_t line = 0; line < int64_t{args.batch} * args.out_h; ++line) {
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t from = args.out_w * piece / pieces, to = args.out_w * (piece + 1) / pieces;
      if (listed + to - from > kListPixels || count == kMostTiles) {
        run(count);
        listed = count = 0;
      }
      tiles[count++] = {line / args.out_h, line % args.out_h, from, to - from};
      ListBconvPixels(args, line * args.out_w + from, to - from, list + listed);
      listed += to - from;
    }
  }
  run(count);
}

template <int kPlanes>
void RunAll(const BconvArgs& args) {
  if (args.finish != nullptr) return RunFinished<kPlanes>(args);
  if (args.out_bits != nullptr) return Run<Output::kBits, kPlanes>(args);
  if (args.out_int32 != nullptr) return Run<Output::kInts, kPlanes>(args);
  Run<Output::kFloats, kPlanes>(args);
}

}  // namespace

// Lines of one pixel are no tiles. Of larger windows counting takes so long that nothing is gained:
// measured on Zen 4, a layer of 64 channels takes 0.95 of the time, of 128 the same, of 256 1.1.
bool BconvFinishesAvx512Vpopcnt(const BconvArgs& args) {
  return args.sparse == nullptr && args.out_w > 1 &&
         int64_t{args.taps} * args.c_words <= kMostFinishedWords;
}

void BconvAvx512Vpopcnt(const BconvArgs& args) {
  if (args.out_float != nullptr && args.out_channel != 1) return BconvPlanesAvx512Vpopcnt(args);
  if (args.planes == 2) {
    RunAll<2>(args);
  } else {
    RunAll<1>(args);
  }
}

}  // namespace bitmill
