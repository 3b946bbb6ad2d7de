// Signed bytes of weights, expanded once for a tile of pixels, times unsigned bytes of activations:
// vpdpbusd adds four products into 32 bits without saturation, so every kind of weight is exact.
//
// Tile: 8 pixels x 16 output channels. A step of 4 input channels loads a vector of weights and 8
// broadcast activations for 8 vpdpbusd, 512 products: 8 cycles where one port multiplies, 64 MAC a
// cycle; loads take 4.5.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvAvx512Vpopcnt(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;  // of a block
constexpr int64_t kTileBlocks = 2;
constexpr int64_t kSumLanes = kTileBlocks * kLanes;
constexpr int64_t kBlockBytes = 32;   // of expanded weights of a step
constexpr int64_t kStepBytes = 64;    // one vector: two blocks
constexpr int64_t kListPixels = 64;   // whose sums wait for further chunks
constexpr int64_t kChunkSteps = 128;  // 8 KiB of expanded weights

struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  const int8_t* weights;  // [steps][64]
};

inline __m512i LoadWeights(const int8_t* weights) { return _mm512_load_si512(weights); }

// Four activation bytes in every lane.
inline __m512i Broadcast(const uint8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return _mm512_set1_epi32(word);
}

inline void AddTo(int32_t* sums, __m512i value) {
  _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), value));
}

// Adds a chunk to sums[pixel][16].
template <int kPixels>
void CountTile(const QconvPixel* pixels, const Chunk& chunk, int32_t* sums) {
  const uint8_t* windows[kPixels];
  __m512i total[kPixels];
  for (int p = 0; p < kPixels; ++p) {
    windows[p] = pixels[p].window;
    total[p] = _mm512_setzero_si512();
  }
  const int8_t* weights = chunk.weights;
  for (int64_t s = 0; s < chunk.steps; ++s, weights += kStepBytes) {
    const int64_t offset = chunk.step_bytes[s];
    const __m512i w = LoadWeights(weights);
    for (int p = 0; p < kPixels; ++p) {
      total[p] = _mm512_dpbusd_epi32(total[p], Broadcast(windows[p] + offset), w);
    }
  }
  for (int p = 0; p < kPixels; ++p) AddTo(sums + p * kSumLanes, total[p]);
}

using CountFn = void (*)(const QconvPixel* pixels, const Chunk& chunk, int32_t* sums);

// One chunk for all listed pixels: tiles of 8, then what is left.
void CountChunk(const QconvPixel* pixels, int64_t pixel_count, const Chunk& chunk, int32_t* sums) {
  struct Tile {
    int64_t pixels;
    CountFn count;
  };
  static constexpr Tile kTiles[] = {
      {8, CountTile<8>}, {4, CountTile<4>}, {2, CountTile<2>}, {1, CountTile<1>}};
  for (const Tile& tile : kTiles) {
    while (pixel_count >= tile.pixels) {
      tile.count(pixels, chunk, sums);
      pixels += tile.pixels;
      pixel_count -= tile.pixels;
      sums += tile.pixels * kSumLanes;
    }
  }
}

// All steps of one or two blocks for the listed pixels.
void RunBlocks(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
               int64_t channel, int64_t blocks) {
  alignas(64) int8_t weights[kChunkSteps * kStepBytes];
  int32_t sums[kListPixels * kSumLanes];
  memset(sums, 0, static_cast<size_t>(pixel_count) * kSumLanes * sizeof(sums[0]));
  if (blocks < kTileBlocks) memset(weights, 0, sizeof(weights));  // the missing block
  for (int64_t first = 0; first < args.steps; first += kChunkSteps) {
    const int64_t left = args.steps - first;
    const Chunk chunk = {args.step_bytes + first, left < kChunkSteps ? left : kChunkSteps, weights};
    for (int64_t b = 0; b < blocks; ++b) {
      ExpandQconvWeightsAvx2(args.kind, QconvBlockOf(args, channel / kLanes + b), first,
                             chunk.steps, weights + b * kBlockBytes, kStepBytes);
    }
    CountChunk(pixels, pixel_count, chunk, sums);
  }
  if (blocks == kTileBlocks) {
    StoreQconvTileAvx2(args, pixels, pixel_count, channel, blocks, sums);
    return;
  }
  for (int64_t p = 0; p < pixel_count; ++p) {
    StoreQconvTileAvx2(args, pixels + p, 1, channel, blocks, sums + p * kSumLanes);
  }
}

}  // namespace

void QconvAvx512Vpopcnt(const QconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  QconvPixel list[kListPixels];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListQconvPixels(args, first, count, list);
    for (int64_t channel = 0; channel < args.out_channels; channel += kTileBlocks * kLanes) {
      RunBlocks(args, list, count, channel, args.out_channels - channel > kLanes ? kTileBlocks : 1);
    }
  }
}

}  // namespace bitmill
