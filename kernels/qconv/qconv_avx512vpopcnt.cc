// Signed bytes of weights, expanded once for a list of pixels, times unsigned bytes of activations:
// vpdpbusd adds four products into 32 bits without saturation, so every kind of weight is exact.
//
// Tile: 8 pixels x 32 output channels. A step of 4 input channels loads 2 vectors of weights and 8
// broadcast activations for 16 vpdpbusd, 1024 products: 16 cycles where one port multiplies (Zen
// 4), 8 where two do, 64 or 128 MAC a cycle; loads take 5. Expansion costs 3 operations for 64
// weights and list. Few pixels are not worth it: kernels/qconv/qconv_rows_avx512vpopcnt.cc.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvAvx512Vpopcnt(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;        // of a block
constexpr int64_t kPairLanes = 16;   // of a vector: two blocks
constexpr int64_t kBlockBytes = 32;  // of expanded weights of a step
constexpr int64_t kPairBytes = 64;
constexpr int64_t kMostPairs = 2;
constexpr int64_t kTilePixels = 8;
constexpr int64_t kListPixels = 128;  // that share expanded weights; sums wait for further chunks
constexpr int64_t kChunkSteps = 128;  // 16 KiB of expanded weights

struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  const int8_t* weights;  // [steps][pairs][64]
};

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

// Four activation bytes in every lane.
inline __m512i Broadcast(const uint8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return _mm512_set1_epi32(word);
}

// g++ 12 would copy sums to and fro instead of adding to them. (Emulated registers are memory.)
inline void KeepInRegister([[maybe_unused]] __m512i* sum) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(*sum));
#endif
}

template <int kPairs>
inline void AddProducts(__m512i a, const __m512i* weights, __m512i* sums) {
  sums[0] = _mm512_dpbusd_epi32(sums[0], a, weights[0]);
  KeepInRegister(&sums[0]);
  if constexpr (kPairs == 2) {
    sums[1] = _mm512_dpbusd_epi32(sums[1], a, weights[1]);
    KeepInRegister(&sums[1]);
  }
}

template <int kPairs>
inline void Load(const int32_t* place, __m512i* sums) {
  sums[0] = _mm512_load_si512(place);
  if constexpr (kPairs == 2) sums[1] = _mm512_load_si512(place + kPairLanes);
}

template <int kPairs>
inline void Store(const __m512i* sums, int32_t* place) {
  _mm512_store_si512(place, sums[0]);
  if constexpr (kPairs == 2) _mm512_store_si512(place + kPairLanes, sums[1]);
}

// Adds a chunk to sums[pixel][pair][16].
template <int kPairs, int... kPixel>
inline __attribute__((always_inline)) void CountPixels(Indices<kPixel...>, const QconvPixel* pixels,
                                                       const Chunk& chunk, int32_t* sums) {
  constexpr int kPixels = sizeof...(kPixel);
  constexpr int64_t kLanesOfAll = kPairs * kPairLanes;
  const uint8_t* const windows[kPixels] = {pixels[kPixel].window...};
  __m512i total[kPixels][kPairs];
  (Load<kPairs>(sums + kPixel * kLanesOfAll, total[kPixel]), ...);
  const int8_t* weights = chunk.weights;
  for (int64_t s = 0; s < chunk.steps; ++s, weights += kPairs * kPairBytes) {
    const int64_t offset = chunk.step_bytes[s];
    __m512i w[kPairs];
    w[0] = _mm512_load_si512(weights);
    if constexpr (kPairs == 2) w[1] = _mm512_load_si512(weights + kPairBytes);
    (AddProducts<kPairs>(Broadcast(windows[kPixel] + offset), w, total[kPixel]), ...);
  }
  (Store<kPairs>(total[kPixel], sums + kPixel * kLanesOfAll), ...);
}

using CountFn = void (*)(const QconvPixel* pixels, const Chunk& chunk, int32_t* sums);

template <int kPairs, int... kPixel>
void CountTile(const QconvPixel* pixels, const Chunk& chunk, int32_t* sums) {
  CountPixels<kPairs>(Indices<kPixel...>(), pixels, chunk, sums);
}

// One chunk for all listed pixels, in tiles of sizes as equal as can be.
template <int kPairs>
void CountChunk(const QconvPixel* pixels, int64_t pixel_count, const Chunk& chunk, int32_t* sums) {
  static constexpr CountFn kTiles[kTilePixels] = {CountTile<kPairs, 0>,
                                                  CountTile<kPairs, 0, 1>,
                                                  CountTile<kPairs, 0, 1, 2>,
                                                  CountTile<kPairs, 0, 1, 2, 3>,
                                                  CountTile<kPairs, 0, 1, 2, 3, 4>,
                                                  CountTile<kPairs, 0, 1, 2, 3, 4, 5>,
                                                  CountTile<kPairs, 0, 1, 2, 3, 4, 5, 6>,
                                                  CountTile<kPairs, 0, 1, 2, 3, 4, 5, 6, 7>};
  const int64_t tile_count = (pixel_count + kTilePixels - 1) / kTilePixels;
  const int64_t smaller = pixel_count / tile_count;
  const int64_t larger_count = pixel_count % tile_count;
  for (int64_t t = 0; t < tile_count; ++t) {
    const int64_t size = smaller + (t < larger_count ? 1 : 0);
    kTiles[size - 1](pixels, chunk, sums);
    pixels += size;
    sums += size * kPairs * kPairLanes;
  }
}

// All steps of kPairs pairs of blocks from `channel` of the group on, of which `blocks` exist, for
// the listed pixels.
template <int kPairs>
void RunBlocks(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
               int64_t pixel_count, int64_t channel, int64_t blocks) {
  constexpr int64_t kStepBytes = kPairs * kPairBytes;
  constexpr int64_t kLanesOfAll = kPairs * kPairLanes;
  alignas(64) int8_t weights[kChunkSteps * kStepBytes];
  alignas(64) int32_t sums[kListPixels * kLanesOfAll];
  int32_t steps[kChunkSteps];
  memset(sums, 0, static_cast<size_t>(pixel_count * kLanesOfAll) * sizeof(sums[0]));
  if (blocks < 2 * kPairs) memset(weights, 0, sizeof(weights));  // the missing block
  for (int64_t first = 0; first < group.steps; first += kChunkSteps) {
    const int64_t left = group.steps - first;
    const int64_t count = left < kChunkSteps ? left : kChunkSteps;
    const Chunk chunk = {QconvStepsOf(args, group, first, count, steps), count, weights};
    for (int64_t b = 0; b < blocks; ++b) {
      ExpandQconvWeightsAvx2(args.kind, QconvBlockOf(group, channel / kLanes + b), first, count,
                             weights + b * kBlockBytes, kStepBytes);
    }
    CountChunk<kPairs>(pixels, pixel_count, chunk, sums);
  }
  if (blocks == 2 * kPairs) {
    StoreQconvTileAvx2(args, pixels, pixel_count, group.channel + channel, blocks, sums);
    return;
  }
  for (int64_t p = 0; p < pixel_count; ++p) {
    StoreQconvTileAvx2(args, pixels + p, 1, group.channel + channel, blocks,
                       sums + p * kLanesOfAll);
  }
}

void RunGroup(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
              int64_t pixel_count) {
  constexpr int64_t kMostLanes = kMostPairs * kPairLanes;
  for (int64_t channel = 0; channel < group.channels; channel += kMostLanes) {
    const int64_t blocks = (group.channels - channel + kLanes - 1) / kLanes;
    if (blocks > 2) {
      RunBlocks<2>(args, group, pixels, pixel_count, channel, blocks < 4 ? blocks : 4);
    } else {
      RunBlocks<1>(args, group, pixels, pixel_count, channel, blocks);
    }
  }
}

}  // namespace

void QconvAvx512Vpopcnt(const QconvArgs& args) {
  if (RunQconvRowsAvx2(args, QconvRowsOfAvx512Vpopcnt)) return;
  if (args.prepared != nullptr) return QconvLookupAvx512Vpopcnt(args);
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t groups = QconvGroupCount(args);
  QconvPixel list[kListPixels];
  for (int64_t left = (pixels + kListPixels - 1) / kListPixels, first = 0; left > 0; --left) {
    const int64_t count = (pixels - first + left - 1) / left;
    ListQconvPixels(args, first, count, list);
    for (int64_t g = 0; g < groups; ++g) RunGroup(args, QconvGroupOf(args, g), list, count);
    first += count;
  }
}

}  // namespace bitmill
