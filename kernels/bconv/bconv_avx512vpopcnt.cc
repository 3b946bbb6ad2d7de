// Exclusive or, vpopcntq, vpaddq: a lane is an output channel, so nothing is summed across lanes.
//
// Tile: 7 pixels x 16 output channels, 14 sums in registers. A step of one word is 2 loads of
// weights, 7 broadcasts (from memory, no vector port) and 14 times xor, popcount, add: 42
// operations on two 512-bit ports, 21 cycles for 7,168 products, 341 MAC a cycle. 7 divides the
// widths of residual networks. Ternary: one vpternlog, mask and (a xor sign), in place of the xor.
// One pixel alone (a matrix times a vector) takes 32 channels instead and is bound by memory.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvAvx512Vpopcnt(const BconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kTilePixels = 7;
constexpr int64_t kTileBlocks = 2;
constexpr int64_t kVectorBlocks = 4;  // of a tile of one pixel
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

// Adds one word of kBlocks blocks for kPixels windows.
template <int kPlanes, int kBlocks, int kPixels>
inline __attribute__((always_inline)) void CountWord(const uint64_t* const* windows, int64_t word,
                                                     const uint64_t* weights, int64_t block_words,
                                                     __m512i (*sums)[kPixels]) {
  __m512i w[kBlocks], s[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    w[b] = _mm512_loadu_si512(weights + b * block_words);
    s[b] = kPlanes == 2 ? _mm512_loadu_si512(weights + b * block_words + kLanes) : w[b];
  }
  for (int p = 0; p < kPixels; ++p) {
    const __m512i a = _mm512_set1_epi64(static_cast<int64_t>(windows[p][word]));
    for (int b = 0; b < kBlocks; ++b) {
      const __m512i bits = Differences<kPlanes>(a, w[b], s[b]);
      sums[b][p] = _mm512_add_epi64(sums[b][p], _mm512_popcnt_epi64(bits));
    }
  }
}

// Counts of kBlocks blocks of a group, whose weights are at `weights`, for kPixels windows, stored
// as counts[block][pixel][8].
template <int kPlanes, int kBlocks, int kPixels>
void CountTile(const BconvGroup& group, const BconvPixel* pixels, const uint64_t* weights,
               uint64_t* counts) {
  const int64_t block_words = group.block_words;
  __m512i sums[kBlocks][kPixels];
  for (int b = 0; b < kBlocks; ++b) {
    for (int p = 0; p < kPixels; ++p) sums[b][p] = _mm512_setzero_si512();
  }
  const uint64_t* windows[kPixels];
  for (int p = 0; p < kPixels; ++p) windows[p] = pixels[p].window;
  if (group.c_words == 1) {
    for (int64_t t = 0; t < group.taps; ++t, weights += kPlanes * kLanes) {
      CountWord<kPlanes, kBlocks, kPixels>(windows, group.tap_words[t], weights, block_words, sums);
    }
  } else {
    for (int64_t t = 0; t < group.taps; ++t) {
      const int64_t first = group.tap_words[t];
      const int64_t end = first + group.c_words;
      for (int64_t word = first; word < end; ++word, weights += kPlanes * kLanes) {
        CountWord<kPlanes, kBlocks, kPixels>(windows, word, weights, block_words, sums);
      }
    }
  }
  for (int b = 0; b < kBlocks; ++b) {
    for (int p = 0; p < kPixels; ++p) {
      _mm512_storeu_si512(counts + (b * kPixels + p) * kLanes, sums[b][p]);
    }
  }
}

using CountFn = void (*)(const BconvGroup& group, const BconvPixel* pixels, const uint64_t* weights,
                         uint64_t* counts);

template <int kPlanes, int kBlocks>
CountFn CountFor(int64_t pixels) {
  static constexpr CountFn kFns[kTilePixels] = {
      CountTile<kPlanes, kBlocks, 1>, CountTile<kPlanes, kBlocks, 2>,
      CountTile<kPlanes, kBlocks, 3>, CountTile<kPlanes, kBlocks, 4>,
      CountTile<kPlanes, kBlocks, 5>, CountTile<kPlanes, kBlocks, 6>,
      CountTile<kPlanes, kBlocks, 7>};
  return kFns[pixels - 1];
}

// All listed pixels of 1 or 2 blocks from `channel` of the group on.
template <int kPlanes>
void RunBlocks(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
               const BconvGroup& group, int64_t channel, int64_t blocks) {
  const uint64_t* weights = group.weights + channel / kLanes * group.block_words;
  alignas(64) uint64_t counts[kTileBlocks * kTilePixels * kLanes];
  for (int64_t p = 0; p < pixel_count; p += kTilePixels) {
    const int64_t tile = pixel_count - p < kTilePixels ? pixel_count - p : kTilePixels;
    const CountFn count =
        blocks == kTileBlocks ? CountFor<kPlanes, kTileBlocks>(tile) : CountFor<kPlanes, 1>(tile);
    count(group, pixels + p, weights, counts);
    StoreBconvTileAvx512(args, pixels + p, tile, group.channel + channel, blocks, counts);
  }
}

// All listed pixels of a group; `alone`: there is only one.
template <int kPlanes>
void RunGroup(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
              const BconvGroup& group, bool alone) {
  constexpr int64_t kVectorChannels = kVectorBlocks * kLanes;
  int64_t channel = 0;
  for (; alone && channel + kVectorChannels <= group.channels; channel += kVectorChannels) {
    alignas(64) uint64_t counts[kVectorChannels];
    const uint64_t* weights = group.weights + channel / kLanes * group.block_words;
    CountTile<kPlanes, kVectorBlocks, 1>(group, pixels, weights, counts);
    const int64_t first = group.channel + channel;
    StoreBconvTileAvx512(args, pixels, 1, first, 2, counts);
    StoreBconvTileAvx512(args, pixels, 1, first + 2 * kLanes, 2, counts + 2 * kLanes);
  }
  for (; channel < group.channels; channel += kTileBlocks * kLanes) {
    RunBlocks<kPlanes>(args, pixels, pixel_count, group, channel,
                       group.channels - channel > kLanes ? kTileBlocks : 1);
  }
}

template <int kPlanes>
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
      RunGroup<kPlanes>(args, list, count, group, pixels == 1);
    }
  }
}

}  // namespace

void BconvAvx512Vpopcnt(const BconvArgs& args) {
  if (args.planes == 2) {
    Run<2>(args);
  } else {
    Run<1>(args);
  }
}

}  // namespace bitmill
