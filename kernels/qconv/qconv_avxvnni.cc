// Signed bytes of weights, expanded once for a list of pixels, times unsigned bytes of activations:
// vpdpbusd in 256 bits adds four products into 32 bits without saturation, so every kind of weight
// is exact.
//
// Tile: 6 pixels x 16 output channels. A step of 4 input channels loads 2 vectors of weights and 6
// broadcast activations for 12 vpdpbusd, 384 products: 6 cycles where two ports multiply, 64 MAC a
// cycle; loads take 4. Outputs leave the registers tile by tile. A few pixels are bound by reading
// weights and go the way of AVX2: kernels/qconv/qconv_rows_avx2.cc.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvAvxVnni(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kBlockBytes = 32;  // of expanded weights of a step
constexpr int64_t kMostBlocks = 2;
constexpr int64_t kTilePixels = 6;
constexpr int64_t kListPixels = 256;  // that share expanded weights
constexpr int64_t kChunkSteps = 256;  // 16 KiB of expanded weights; sums of more wait in memory

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

// Some steps of the window, expanded: [steps][blocks][32].
struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  const int8_t* weights;
};

inline __m256i Load(const void* place) {
  return _mm256_load_si256(static_cast<const __m256i*>(place));
}

inline void Store(int32_t* place, __m256i value) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(place), value);
}

// Four activation bytes in every lane.
inline __m256i Broadcast(const uint8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return _mm256_set1_epi32(word);
}

// g++ 12 would copy sums to and fro instead of adding to them.
inline void KeepInRegister(__m256i* sum) { __asm__("" : "+x"(*sum)); }

template <int kBlocks>
inline void AddProducts(__m256i a, const __m256i* weights, __m256i* sums) {
  sums[0] = _mm256_dpbusd_avx_epi32(sums[0], a, weights[0]);
  KeepInRegister(&sums[0]);
  if constexpr (kBlocks == 2) {
    sums[1] = _mm256_dpbusd_avx_epi32(sums[1], a, weights[1]);
    KeepInRegister(&sums[1]);
  }
}

template <int kBlocks>
inline void LoadSums(const int32_t* place, __m256i* sums) {
  sums[0] = Load(place);
  if constexpr (kBlocks == 2) sums[1] = Load(place + kLanes);
}

template <int kBlocks>
inline void StoreSums(const __m256i* sums, int32_t* place) {
  Store(place, sums[0]);
  if constexpr (kBlocks == 2) Store(place + kLanes, sums[1]);
}

// Adds a chunk to sums[pixel][block][8].
template <int kBlocks, int... kPixel>
inline __attribute__((always_inline)) void CountPixels(Indices<kPixel...>, const QconvPixel* pixels,
                                                       const Chunk& chunk, int32_t* sums) {
  constexpr int kPixels = sizeof...(kPixel);
  constexpr int64_t kSumLanes = kBlocks * kLanes;
  const uint8_t* const windows[kPixels] = {pixels[kPixel].window...};
  __m256i total[kPixels][kBlocks];
  (LoadSums<kBlocks>(sums + kPixel * kSumLanes, total[kPixel]), ...);
  const int8_t* weights = chunk.weights;
  for (int64_t s = 0; s < chunk.steps; ++s, weights += kBlocks * kBlockBytes) {
    const int64_t offset = chunk.step_bytes[s];
    __m256i w[kBlocks];
    w[0] = Load(weights);
    if constexpr (kBlocks == 2) w[1] = Load(weights + kBlockBytes);
    (AddProducts<kBlocks>(Broadcast(windows[kPixel] + offset), w, total[kPixel]), ...);
  }
  (StoreSums<kBlocks>(total[kPixel], sums + kPixel * kSumLanes), ...);
}

using CountFn = void (*)(const QconvPixel* pixels, const Chunk& chunk, int32_t* sums);

template <int kBlocks, int... kPixel>
void CountTile(const QconvPixel* pixels, const Chunk& chunk, int32_t* sums) {
  CountPixels<kBlocks>(Indices<kPixel...>(), pixels, chunk, sums);
}

// A chunk among all steps of the outputs from `channel` on.
struct Pass {
  const QconvArgs& args;
  int64_t channel;
  bool first, last;
};

// One chunk for all listed pixels, in tiles of sizes as equal as can be. Sums begin with the first
// chunk and become outputs with the last, tile by tile.
template <int kBlocks>
void CountChunk(const Pass& pass, const QconvPixel* pixels, int64_t pixel_count, const Chunk& chunk,
                int32_t* sums) {
  static constexpr CountFn kTiles[kTilePixels] = {CountTile<kBlocks, 0>,
                                                  CountTile<kBlocks, 0, 1>,
                                                  CountTile<kBlocks, 0, 1, 2>,
                                                  CountTile<kBlocks, 0, 1, 2, 3>,
                                                  CountTile<kBlocks, 0, 1, 2, 3, 4>,
                                                  CountTile<kBlocks, 0, 1, 2, 3, 4, 5>};
  const int64_t tile_count = (pixel_count + kTilePixels - 1) / kTilePixels;
  const int64_t smaller = pixel_count / tile_count;
  const int64_t larger_count = pixel_count % tile_count;
  for (int64_t t = 0; t < tile_count; ++t) {
    const int64_t size = smaller + (t < larger_count ? 1 : 0);
    if (pass.first) {
      memset(sums, 0, static_cast<size_t>(size * kBlocks * kLanes) * sizeof(sums[0]));
    }
    kTiles[size - 1](pixels, chunk, sums);
    if (pass.last) StoreQconvTileAvx2(pass.args, pixels, size, pass.channel, kBlocks, sums);
    pixels += size;
    sums += size * kBlocks * kLanes;
  }
}

// All steps of kBlocks blocks from `channel` of the group on for the listed pixels.
template <int kBlocks>
void RunBlocks(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
               int64_t pixel_count, int64_t channel) {
  alignas(32) int8_t weights[kChunkSteps * kBlocks * kBlockBytes];
  alignas(32) int32_t sums[kListPixels * kBlocks * kLanes];
  int32_t steps[kChunkSteps];
  int64_t first = 0;
  do {  // one chunk of nothing where all weights are zero
    const int64_t left = group.steps - first;
    const int64_t count = left < kChunkSteps ? left : kChunkSteps;
    const Chunk chunk = {QconvStepsOf(args, group, first, count, steps), count, weights};
    for (int64_t b = 0; b < kBlocks; ++b) {
      ExpandQconvWeightsAvx2(args.kind, QconvBlockOf(group, channel / kLanes + b), first, count,
                             weights + b * kBlockBytes, kBlocks * kBlockBytes);
    }
    const Pass pass = {args, group.channel + channel, first == 0, count == left};
    CountChunk<kBlocks>(pass, pixels, pixel_count, chunk, sums);
    first += count;
  } while (first < group.steps);
}

}  // namespace

void QconvAvxVnni(const QconvArgs& args) {
  if (RunQconvRowsAvx2(args, QconvRowsOfAvx2)) return;
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t groups = QconvGroupCount(args);
  QconvPixel list[kListPixels];
  for (int64_t left = (pixels + kListPixels - 1) / kListPixels, first = 0; left > 0; --left) {
    const int64_t count = (pixels - first + left - 1) / left;
    ListQconvPixels(args, first, count, list);
    for (int64_t g = 0; g < groups; ++g) {
      const QconvGroup group = QconvGroupOf(args, g);
      for (int64_t channel = 0; channel < group.channels; channel += kMostBlocks * kLanes) {
        if (group.channels - channel > kLanes) {
          RunBlocks<kMostBlocks>(args, group, list, count, channel);
        } else {
          RunBlocks<1>(args, group, list, count, channel);
        }
      }
    }
    first += count;
  }
}

}  // namespace bitmill
