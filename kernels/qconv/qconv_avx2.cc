// Signed bytes of weights, expanded once for a tile of pixels, times unsigned bytes of activations.
//
// Tile: 6 pixels x 16 output channels. A step of 4 input channels loads 2 vectors of weights and 6
// broadcast activations; vpmaddubsw adds two products into 16 bits and vpaddw sums steps, 12 of
// each for 384 products: 6 cycles on two multiplier ports, 64 MAC a cycle. Before a sum of 16 bits
// could overflow (the contract's `levels` and the weight kind say when) vpmaddwd moves it to 32
// bits, so nothing saturates. Where even two products may not fit (8-bit weights with more than 128
// levels) bytes are widened to 16 bits and vpmaddwd multiplies: half the rate, exact.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvAvx2(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepBytes = 32;  // of expanded weights of a block
constexpr int64_t kTileBlocks = 2;
constexpr int64_t kListPixels = 60;   // whose sums wait for further chunks
constexpr int64_t kChunkSteps = 128;  // 8 KiB of expanded weights

struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  const int8_t* weights;  // [steps][blocks][32]
};

inline __m256i LoadWeights(const int8_t* weights) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(weights));
}

// Four activation bytes in every lane.
inline __m256i Broadcast(const uint8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return _mm256_set1_epi32(word);
}

inline void AddTo(int32_t* sums, __m256i value) {
  __m256i* place = reinterpret_cast<__m256i*>(sums);
  _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), value));
}

// Holds the compiler to the order written: g++ 12 would load ahead until registers run out, and a
// sum in memory is a chain of stores and loads.
inline void KeepInRegister(__m256i* value) { __asm__("" : "+x"(*value)); }

// Adds a chunk to sums[pixel][block][8]; `flush_steps` steps fit into 16 bits.
template <int kBlocks, int kPixels>
void CountBytes(const QconvPixel* pixels, const Chunk& chunk, int64_t flush_steps, int32_t* sums) {
  const uint8_t* windows[kPixels];
  for (int p = 0; p < kPixels; ++p) windows[p] = pixels[p].window;
  const int8_t* weights = chunk.weights;
  for (int64_t first = 0; first < chunk.steps; first += flush_steps) {
    const int64_t end = chunk.steps - first < flush_steps ? chunk.steps : first + flush_steps;
    __m256i words[kPixels][kBlocks];
    for (int p = 0; p < kPixels; ++p) {
      for (int b = 0; b < kBlocks; ++b) words[p][b] = _mm256_setzero_si256();
    }
    for (int64_t s = first; s < end; ++s) {
      const int64_t offset = chunk.step_bytes[s];
      __m256i w[kBlocks];
      for (int b = 0; b < kBlocks; ++b) w[b] = LoadWeights(weights + b * kStepBytes);
      weights += kBlocks * kStepBytes;
      for (int p = 0; p < kPixels; ++p) {
        const __m256i a = Broadcast(windows[p] + offset);
        for (int b = 0; b < kBlocks; ++b) {
          words[p][b] = _mm256_add_epi16(words[p][b], _mm256_maddubs_epi16(a, w[b]));
          KeepInRegister(&words[p][b]);
        }
      }
    }
    for (int p = 0; p < kPixels; ++p) {
      for (int b = 0; b < kBlocks; ++b) {
        AddTo(sums + (p * kBlocks + b) * kLanes,
              _mm256_madd_epi16(words[p][b], _mm256_set1_epi16(1)));
      }
    }
  }
}

// The same in 16-bit products; even and odd bytes apart.
template <int kBlocks, int kPixels>
void CountWords(const QconvPixel* pixels, const Chunk& chunk, int64_t, int32_t* sums) {
  const __m256i low = _mm256_set1_epi16(0x00ff);
  __m256i total[kPixels][kBlocks];
  for (int p = 0; p < kPixels; ++p) {
    for (int b = 0; b < kBlocks; ++b) total[p][b] = _mm256_setzero_si256();
  }
  const int8_t* weights = chunk.weights;
  for (int64_t s = 0; s < chunk.steps; ++s) {
    __m256i even[kBlocks], odd[kBlocks];
    for (int b = 0; b < kBlocks; ++b) {
      const __m256i w = LoadWeights(weights + b * kStepBytes);
      even[b] = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
      odd[b] = _mm256_srai_epi16(w, 8);
    }
    weights += kBlocks * kStepBytes;
    for (int p = 0; p < kPixels; ++p) {
      const __m256i a = Broadcast(pixels[p].window + chunk.step_bytes[s]);
      const __m256i a_even = _mm256_and_si256(a, low);
      const __m256i a_odd = _mm256_srli_epi16(a, 8);
      for (int b = 0; b < kBlocks; ++b) {
        const __m256i products =
            _mm256_add_epi32(_mm256_madd_epi16(a_even, even[b]), _mm256_madd_epi16(a_odd, odd[b]));
        total[p][b] = _mm256_add_epi32(total[p][b], products);
      }
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    for (int b = 0; b < kBlocks; ++b) AddTo(sums + (p * kBlocks + b) * kLanes, total[p][b]);
  }
}

using CountFn = void (*)(const QconvPixel* pixels, const Chunk& chunk, int64_t flush_steps,
                         int32_t* sums);

// One chunk for all listed pixels. Tiles of 6, then what is left.
template <int kBlocks>
void CountChunk(const QconvPixel* pixels, int64_t pixel_count, const Chunk& chunk,
                int64_t flush_steps, int32_t* sums) {
  struct Tile {
    int64_t pixels;
    CountFn bytes, words;
  };
  static constexpr Tile kTiles[] = {{4, CountBytes<kBlocks, 4>, CountWords<kBlocks, 4>},
                                    {2, CountBytes<kBlocks, 2>, CountWords<kBlocks, 2>},
                                    {1, CountBytes<kBlocks, 1>, CountWords<kBlocks, 1>}};
  for (const Tile& tile : kTiles) {
    const CountFn count = flush_steps > 0 ? tile.bytes : tile.words;
    while (pixel_count >= tile.pixels) {
      count(pixels, chunk, flush_steps, sums);
      pixels += tile.pixels;
      pixel_count -= tile.pixels;
      sums += tile.pixels * kBlocks * kLanes;
    }
  }
}

// All steps of kBlocks blocks for the listed pixels.
template <int kBlocks>
void RunBlocks(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
               int64_t channel) {
  alignas(32) int8_t weights[kChunkSteps * kBlocks * kStepBytes];
  int32_t sums[kListPixels * kBlocks * kLanes];
  memset(sums, 0, static_cast<size_t>(pixel_count) * kBlocks * kLanes * sizeof(sums[0]));
  const int64_t block_bytes = QconvBlockBytes(args.kind, args.steps);
  const uint8_t* packed = args.weights + channel / kLanes * block_bytes;
  // A step adds two products to a sum of 16 bits.
  const int64_t flush_steps = QconvProductsInInt16(args.kind, args.levels) / 2;
  for (int64_t first = 0; first < args.steps; first += kChunkSteps) {
    const int64_t left = args.steps - first;
    const Chunk chunk = {args.step_bytes + first, left < kChunkSteps ? left : kChunkSteps, weights};
    for (int64_t b = 0; b < kBlocks; ++b) {
      ExpandQconvWeightsAvx2(args.kind, packed + b * block_bytes, first, chunk.steps,
                             weights + b * kStepBytes, kBlocks * kStepBytes);
    }
    CountChunk<kBlocks>(pixels, pixel_count, chunk, flush_steps, sums);
  }
  StoreQconvTileAvx2(args, pixels, pixel_count, channel, kBlocks, sums);
}

}  // namespace

void QconvAvx2(const QconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  QconvPixel list[kListPixels];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListQconvPixels(args, first, count, list);
    for (int64_t channel = 0; channel < args.out_channels; channel += kTileBlocks * kLanes) {
      if (args.out_channels - channel > kLanes) {
        RunBlocks<kTileBlocks>(args, list, count, channel);
      } else {
        RunBlocks<1>(args, list, count, channel);
      }
    }
  }
}

}  // namespace bitmill
