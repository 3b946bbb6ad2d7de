// Exclusive or, vpopcntq, vpaddq: a lane is an output channel, so nothing is summed across lanes.
//
// Tile: 7 pixels x 16 output channels, 14 sums in registers. A step of one word is 2 loads of
// weights, 7 broadcasts (from memory, no vector port) and 14 times xor, popcount, add: 42
// operations on two 512-bit ports, 21 cycles for 7,168 products, 341 MAC a cycle. 7 divides the
// widths of residual networks. Ternary: one vpternlog, mask and (a xor sign), in place of the xor.
// One pixel alone (a matrix times a vector) takes 32 channels instead and is bound by memory.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvAvx512Vpopcnt(const BconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kTilePixels = 7;
constexpr int64_t kTileBlocks = 2;
constexpr int64_t kVectorBlocks = 4;       // of a tile of one pixel
constexpr int64_t kFarWords = 512 * 1024;  // more weights lie far beyond the second-level cache
constexpr int64_t kListPixels = 32 * kTilePixels;
constexpr int64_t kMostPlaces = 576;      // words of a window that are listed
constexpr int kMaskAndDifference = 0x60;  // first and (second xor third)

// Signs that differ, or those of the products that count.
template <int kPlanes>
inline __m512i Differences(__m512i a, __m512i weights, __m512i signs) {
  if constexpr (kPlanes == 2) {
    return _mm512_ternarylogic_epi64(weights, a, signs, kMaskAndDifference);
  } else {
    return _mm512_xor_si512(a, weights);
  }
}

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

template <int kPlanes>
void RunAll(const BconvArgs& args) {
  if (args.out_bits != nullptr) return Run<Output::kBits, kPlanes>(args);
  if (args.out_int32 != nullptr) return Run<Output::kInts, kPlanes>(args);
  Run<Output::kFloats, kPlanes>(args);
}

}  // namespace

void BconvAvx512Vpopcnt(const BconvArgs& args) {
  if (args.planes == 2) {
    RunAll<2>(args);
  } else {
    RunAll<1>(args);
  }
}

}  // namespace bitmill
