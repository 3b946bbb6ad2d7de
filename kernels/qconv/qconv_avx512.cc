// Signed bytes of weights, expanded once for a tile of pixels, times unsigned bytes of activations.
//
// Tile: 8 pixels x 16 output channels. A step of 4 input channels loads a vector of weights and 8
// broadcast activations; vpmaddubsw adds two products into 16 bits and vpaddw sums steps, 8 of each
// for 512 products: 8 cycles on two 512-bit ports, 64 MAC a cycle. Before a sum of 16 bits could
// overflow, vpmaddwd moves it to 32 bits, so nothing saturates. Where even two products may not fit
// (8-bit weights with more than 129 levels) bytes are widened to 16 bits first. Few pixels are not
// worth expanding for: kernels/qconv/qconv_rows_avx512.cc.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvAvx512(const QconvArgs& args);

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

// g++ 12 would copy sums to and fro instead of adding to them. (Emulated registers are memory.)
inline void KeepInRegister([[maybe_unused]] __m512i* sum) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(*sum));
#endif
}

inline void AddTo(int32_t* sums, __m512i value) {
  _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), value));
}

// Adds a chunk to sums[pixel][16]; sums of 16 bits take at most `words.steps` steps.
template <int kPixels>
void CountBytes(const QconvPixel* pixels, const Chunk& chunk, const QconvWordSums& words,
                int32_t* sums) {
  const uint8_t* windows[kPixels];
  for (int p = 0; p < kPixels; ++p) windows[p] = pixels[p].window;
  const int8_t* weights = chunk.weights;
  const __m512i start = _mm512_set1_epi16(static_cast<int16_t>(words.start));
  // A sum of 32 bits joins two of 16.
  const __m512i start_of_two = _mm512_set1_epi32(-2 * words.start);
  for (int64_t first = 0; first < chunk.steps; first += words.steps) {
    const int64_t end = chunk.steps - first < words.steps ? chunk.steps : first + words.steps;
    __m512i part[kPixels];
    for (int p = 0; p < kPixels; ++p) part[p] = start;
    for (int64_t s = first; s < end; ++s, weights += kStepBytes) {
      const int64_t offset = chunk.step_bytes[s];
      const __m512i w = LoadWeights(weights);
      for (int p = 0; p < kPixels; ++p) {
        const __m512i products = _mm512_maddubs_epi16(Broadcast(windows[p] + offset), w);
        part[p] = _mm512_add_epi16(part[p], products);
        KeepInRegister(&part[p]);
      }
    }
    for (int p = 0; p < kPixels; ++p) {
      const __m512i joined = _mm512_madd_epi16(part[p], _mm512_set1_epi16(1));
      AddTo(sums + p * kSumLanes, _mm512_add_epi32(joined, start_of_two));
    }
  }
}

// The same in 16-bit products; even and odd bytes apart.
template <int kPixels>
void CountWords(const QconvPixel* pixels, const Chunk& chunk, const QconvWordSums&, int32_t* sums) {
  const __m512i low = _mm512_set1_epi16(0x00ff);
  __m512i total[kPixels];
  for (int p = 0; p < kPixels; ++p) total[p] = _mm512_setzero_si512();
  const int8_t* weights = chunk.weights;
  for (int64_t s = 0; s < chunk.steps; ++s, weights += kStepBytes) {
    const __m512i w = LoadWeights(weights);
    const __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8);
    const __m512i odd = _mm512_srai_epi16(w, 8);
    for (int p = 0; p < kPixels; ++p) {
      const __m512i a = Broadcast(pixels[p].window + chunk.step_bytes[s]);
      const __m512i products = _mm512_add_epi32(_mm512_madd_epi16(_mm512_and_si512(a, low), even),
                                                _mm512_madd_epi16(_mm512_srli_epi16(a, 8), odd));
      total[p] = _mm512_add_epi32(total[p], products);
    }
  }
  for (int p = 0; p < kPixels; ++p) AddTo(sums + p * kSumLanes, total[p]);
}

using CountFn = void (*)(const QconvPixel* pixels, const Chunk& chunk, const QconvWordSums& words,
                         int32_t* sums);

// One chunk for all listed pixels: tiles of 8, then what is left.
void CountChunk(const QconvPixel* pixels, int64_t pixel_count, const Chunk& chunk,
                const QconvWordSums& words, int32_t* sums) {
  struct Tile {
    int64_t pixels;
    CountFn bytes, words;
  };
  static constexpr Tile kTiles[] = {{8, CountBytes<8>, CountWords<8>},
                                    {4, CountBytes<4>, CountWords<4>},
                                    {2, CountBytes<2>, CountWords<2>},
                                    {1, CountBytes<1>, CountWords<1>}};
  for (const Tile& tile : kTiles) {
    const CountFn count = words.steps > 0 ? tile.bytes : tile.words;
    while (pixel_count >= tile.pixels) {
      count(pixels, chunk, words, sums);
      pixels += tile.pixels;
      pixel_count -= tile.pixels;
      sums += tile.pixels * kSumLanes;
    }
  }
}

// All steps of one or two blocks from `channel` of the group on for the listed pixels.
void RunBlocks(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
               int64_t pixel_count, int64_t channel, int64_t blocks) {
  alignas(64) int8_t weights[kChunkSteps * kStepBytes];
  int32_t sums[kListPixels * kSumLanes];
  int32_t steps[kChunkSteps];
  memset(sums, 0, static_cast<size_t>(pixel_count) * kSumLanes * sizeof(sums[0]));
  if (blocks < kTileBlocks) memset(weights, 0, sizeof(weights));  // the missing block
  const QconvWordSums words = QconvWordSumsOf(args);
  for (int64_t first = 0; first < group.steps; first += kChunkSteps) {
    const int64_t left = group.steps - first;
    const int64_t count = left < kChunkSteps ? left : kChunkSteps;
    const Chunk chunk = {QconvStepsOf(args, group, first, count, steps), count, weights};
    for (int64_t b = 0; b < blocks; ++b) {
      ExpandQconvWeightsAvx2(args.kind, QconvBlockOf(group, channel / kLanes + b), first, count,
                             weights + b * kBlockBytes, kStepBytes);
    }
    CountChunk(pixels, pixel_count, chunk, words, sums);
  }
  if (blocks == kTileBlocks) {
    StoreQconvTileAvx2(args, pixels, pixel_count, group.channel + channel, blocks, sums);
    return;
  }
  for (int64_t p = 0; p < pixel_count; ++p) {
    StoreQconvTileAvx2(args, pixels + p, 1, group.channel + channel, blocks, sums + p * kSumLanes);
  }
}

}  // namespace

void QconvAvx512(const QconvArgs& args) {
  if (RunQconvRowsAvx2(args, QconvRowsOfAvx512)) return;
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t groups = QconvGroupCount(args);
  QconvPixel list[kListPixels];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListQconvPixels(args, first, count, list);
    for (int64_t g = 0; g < groups; ++g) {
      const QconvGroup group = QconvGroupOf(args, g);
      for (int64_t channel = 0; channel < group.channels; channel += kTileBlocks * kLanes) {
        RunBlocks(args, group, list, count, channel,
                  group.channels - channel > kLanes ? kTileBlocks : 1);
      }
    }
  }
}

}  // namespace bitmill
