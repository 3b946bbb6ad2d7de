// Signed bytes of weights, expanded once for a list of pixels, times unsigned bytes of activations.
//
// Tile: 6 pixels x 16 output channels. A step of 4 input channels loads 2 vectors of weights and 6
// broadcast activations; vpmaddubsw adds two products into 16 bits and vpaddw sums steps, 12 of
// each for 384 products. On paper that is 6 cycles of four vector pipes; Zen 3 steers sums to the
// two multiplier pipes and takes 7.4, the ceiling of the roofline, and 7.7 with the loads. The rest
// of what is lost: sums moved to 32 bits (a store a cycle: 4 %, of ternary weights 2.5 %), outputs
// and expansion (1 % each; more for few input channels). Not better: windows copied side by side,
// sums waiting in the output, tiles of 4 pixels x 3 blocks, unrolled steps.
//
// Before a sum of 16 bits could overflow (QconvWordSumsOf: 42 steps of 2-bit weights and 8-bit
// codes, 64 of ternary ones) vpmaddwd moves it to 32 bits, so nothing saturates. Where even two
// products may not fit (8-bit weights with more than 129 levels) bytes are widened to 16 bits and
// vpmaddwd multiplies: half the rate, exact. Few pixels are not worth expanding for:
// kernels/qconv/qconv_rows_avx2.cc.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvAvx2(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepBytes = 32;  // of expanded weights of a block
constexpr int64_t kTileBlocks = 2;
constexpr int64_t kTilePixels = 6;
constexpr int64_t kWordTilePixels = 3;
constexpr int64_t kListPixels = 240;  // that share expanded weights; sums wait for further chunks
constexpr int64_t kMostChunkSteps = 256;  // 16 KiB of expanded weights

struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  int64_t section_steps;  // after which sums of 16 bits move on
  const int8_t* weights;  // [steps][blocks][32]
};

// How often sums of 16 bits move on while `steps` steps are added.
inline int64_t SectionsOf(int64_t steps, const QconvWordSums& words) {
  return words.steps > 0 ? (steps + words.steps - 1) / words.steps : 0;
}

// A multiple of 8, and of whole sections where that fits.
inline int64_t ChunkStepsOf(const QconvWordSums& words) {
  if (words.steps <= 0 || words.steps > kMostChunkSteps) return kMostChunkSteps;
  const int64_t whole = kMostChunkSteps / words.steps * words.steps / 8 * 8;
  return whole > 0 ? whole : kMostChunkSteps;
}

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

// Bytes that may be read as a word.
struct __attribute__((may_alias)) FourBytes {
  uint8_t bytes[4];
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

template <int kBlocks>
inline void Fill(__m256i value, __m256i* vectors) {
  vectors[0] = value;
  if constexpr (kBlocks == 2) vectors[1] = value;
}

inline void Begin(int32_t value, int64_t vectors, int32_t* sums) {
  const __m256i all = _mm256_set1_epi32(value);
  for (int64_t i = 0; i < vectors; ++i) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + i * kLanes), all);
  }
}

inline void AddTo(int32_t* sums, __m256i value) {
  __m256i* place = reinterpret_cast<__m256i*>(sums);
  _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_loadu_si256(place), value));
}

// sums[b] += the four bytes times weights[b], in 16 bits. In assembly because compilers that choose
// the order load ahead until registers run out, and a sum in memory is a chain of stores and loads.
template <int kBlocks>
inline __attribute__((always_inline)) void Multiply(const uint8_t* bytes, const __m256i* weights,
                                                    __m256i* sums) {
  const FourBytes& four = *reinterpret_cast<const FourBytes*>(bytes);
  __m256i a, products;
  if constexpr (kBlocks == 2) {
    __asm__ volatile(
        "vpbroadcastd %[four], %[a]\n\t"
        "vpmaddubsw %[w0], %[a], %[products]\n\t"
        "vpmaddubsw %[w1], %[a], %[a]\n\t"
        "vpaddw %[products], %[sum0], %[sum0]\n\t"
        "vpaddw %[a], %[sum1], %[sum1]"
        : [sum0] "+x"(sums[0]), [sum1] "+x"(sums[1]), [a] "=&x"(a), [products] "=&x"(products)
        : [four] "m"(four), [w0] "x"(weights[0]), [w1] "x"(weights[1]));
  } else {
    __asm__ volatile(
        "vpbroadcastd %[four], %[a]\n\t"
        "vpmaddubsw %[w0], %[a], %[products]\n\t"
        "vpaddw %[products], %[sum0], %[sum0]"
        : [sum0] "+x"(sums[0]), [a] "=&x"(a), [products] "=&x"(products)
        : [four] "m"(four), [w0] "x"(weights[0]));
  }
}

// Adds a chunk to sums[pixel][block][8]; sums of 16 bits take at most `words.steps` steps.
template <int kBlocks, int... kPixel>
inline __attribute__((always_inline)) void CountBytes(Indices<kPixel...>, const QconvPixel* pixels,
                                                      const Chunk& chunk,
                                                      const QconvWordSums& words, int32_t* sums) {
  constexpr int kPixels = sizeof...(kPixel);
  const uint8_t* const windows[kPixels] = {pixels[kPixel].window...};
  const __m256i start = _mm256_set1_epi16(static_cast<int16_t>(words.start));
  const int8_t* weights = chunk.weights;
  const int32_t* step = chunk.step_bytes;
  const int32_t* const last = step + chunk.steps;
  while (step != last) {
    const int32_t* const end =
        last - step < chunk.section_steps ? last : step + chunk.section_steps;
    __m256i part[kPixels][kBlocks];
    (Fill<kBlocks>(start, part[kPixel]), ...);
    for (; step != end; ++step) {
      const int64_t offset = *step;
      __m256i w[kBlocks];
      w[0] = LoadWeights(weights);
      w[kBlocks - 1] = LoadWeights(weights + (kBlocks - 1) * kStepBytes);
      weights += kBlocks * kStepBytes;
      (Multiply<kBlocks>(windows[kPixel] + offset, w, part[kPixel]), ...);
    }
    const auto flush = [&](const __m256i& word, int32_t* place) {
      AddTo(place, _mm256_madd_epi16(word, _mm256_set1_epi16(1)));
    };
    (flush(part[kPixel][0], sums + kPixel * kBlocks * kLanes), ...);
    if constexpr (kBlocks == 2) (flush(part[kPixel][1], sums + (kPixel * 2 + 1) * kLanes), ...);
  }
}

// The same in 16-bit products; even and odd bytes apart.
template <int kBlocks, int... kPixel>
inline __attribute__((always_inline)) void CountWords(Indices<kPixel...>, const QconvPixel* pixels,
                                                      const Chunk& chunk, int32_t* sums) {
  constexpr int kPixels = sizeof...(kPixel);
  const __m256i low = _mm256_set1_epi16(0x00ff);
  __m256i total[kPixels][kBlocks];
  (Fill<kBlocks>(_mm256_setzero_si256(), total[kPixel]), ...);
  const int8_t* weights = chunk.weights;
  for (int64_t s = 0; s < chunk.steps; ++s, weights += kBlocks * kStepBytes) {
    const int64_t offset = chunk.step_bytes[s];
    __m256i even[kBlocks], odd[kBlocks];
    for (int b = 0; b < kBlocks; ++b) {
      const __m256i w = LoadWeights(weights + b * kStepBytes);
      even[b] = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
      odd[b] = _mm256_srai_epi16(w, 8);
    }
    const auto add = [&](const QconvPixel& pixel, __m256i* to) {
      const __m256i a = Broadcast(pixel.window + offset);
      const __m256i a_even = _mm256_and_si256(a, low);
      const __m256i a_odd = _mm256_srli_epi16(a, 8);
      for (int b = 0; b < kBlocks; ++b) {
        to[b] = _mm256_add_epi32(to[b], _mm256_add_epi32(_mm256_madd_epi16(a_even, even[b]),
                                                         _mm256_madd_epi16(a_odd, odd[b])));
      }
    };
    (add(pixels[kPixel], total[kPixel]), ...);
  }
  (AddTo(sums + kPixel * kBlocks * kLanes, total[kPixel][0]), ...);
  if constexpr (kBlocks == 2) (AddTo(sums + (kPixel * 2 + 1) * kLanes, total[kPixel][1]), ...);
}

using CountFn = void (*)(const QconvPixel* pixels, const Chunk& chunk, const QconvWordSums& words,
                         int32_t* sums);

template <int kBlocks, int... kPixel>
void BytesTile(const QconvPixel* pixels, const Chunk& chunk, const QconvWordSums& words,
               int32_t* sums) {
  CountBytes<kBlocks>(Indices<kPixel...>(), pixels, chunk, words, sums);
}

template <int kBlocks, int... kPixel>
void WordsTile(const QconvPixel* pixels, const Chunk& chunk, const QconvWordSums&, int32_t* sums) {
  CountWords<kBlocks>(Indices<kPixel...>(), pixels, chunk, sums);
}

// One chunk of a list: where sums begin and where they end.
struct Pass {
  const QconvArgs& args;
  int64_t channel;
  QconvSection section;  // the chunk among all steps
  int32_t below;         // what sums of 32 bits begin with
};

// Outputs of neighbours lie far apart, and a tile takes longer than a line from memory.
inline void PrefetchOutputs(const Pass& pass, const QconvPixel* pixels, int64_t pixel_count) {
  const char* const first = pass.args.out_int32 != nullptr
                                ? reinterpret_cast<const char*>(pass.args.out_int32)
                                : reinterpret_cast<const char*>(pass.args.out_float);
  for (int64_t p = 0; p < pixel_count; ++p) {
    _mm_prefetch(first + (pixels[p].out + pass.channel) * 4, _MM_HINT_T0);
  }
}

// One chunk for all listed pixels, in tiles of sizes as equal as can be. Sums begin with the first
// chunk and become outputs with the last, tile by tile.
template <int kBlocks>
void CountChunk(const QconvPixel* pixels, int64_t pixel_count, const Chunk& chunk,
                const QconvWordSums& words, const Pass& pass, int32_t* sums) {
  static constexpr CountFn kBytesTiles[kTilePixels] = {BytesTile<kBlocks, 0>,
                                                       BytesTile<kBlocks, 0, 1>,
                                                       BytesTile<kBlocks, 0, 1, 2>,
                                                       BytesTile<kBlocks, 0, 1, 2, 3>,
                                                       BytesTile<kBlocks, 0, 1, 2, 3, 4>,
                                                       BytesTile<kBlocks, 0, 1, 2, 3, 4, 5>};
  static constexpr CountFn kWordsTiles[kWordTilePixels] = {
      WordsTile<kBlocks, 0>, WordsTile<kBlocks, 0, 1>, WordsTile<kBlocks, 0, 1, 2>};
  const int64_t most = words.steps > 0 ? kTilePixels : kWordTilePixels;
  const CountFn* const tiles = words.steps > 0 ? kBytesTiles : kWordsTiles;
  const int64_t tile_count = (pixel_count + most - 1) / most;
  const int64_t smaller = pixel_count / tile_count;
  const int64_t larger_count = pixel_count % tile_count;
  for (int64_t t = 0; t < tile_count; ++t) {
    const int64_t size = smaller + (t < larger_count ? 1 : 0);
    if (pass.section.first) Begin(pass.below, size * kBlocks, sums);
    if (pass.section.last) PrefetchOutputs(pass, pixels, size);
    tiles[size - 1](pixels, chunk, words, sums);
    if (pass.section.last) {
      StoreQconvTileAvx2(pass.args, pixels, size, pass.channel, kBlocks, sums);
    }
    pixels += size;
    sums += size * kBlocks * kLanes;
  }
}

// All steps of kBlocks blocks from `channel` of the group on for the listed pixels.
template <int kBlocks>
void RunBlocks(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
               int64_t pixel_count, int64_t channel) {
  alignas(32) int8_t weights[kMostChunkSteps * kBlocks * kStepBytes];
  alignas(32) int32_t sums[kListPixels * kBlocks * kLanes];
  int32_t listed_steps[kMostChunkSteps];
  const QconvWordSums words = QconvWordSumsOf(args);
  const int64_t chunk_steps = ChunkStepsOf(words);
  // Each section adds the starts of the two sums of 16 bits that it joins.
  const int64_t all_sections = group.steps / chunk_steps * SectionsOf(chunk_steps, words) +
                               SectionsOf(group.steps % chunk_steps, words);
  const auto below = static_cast<int32_t>(-2 * all_sections * words.start);
  // One chunk of nothing where all weights are zero.
  int64_t first = 0;
  do {
    const int64_t left = group.steps - first;
    const int64_t steps = left < chunk_steps ? left : chunk_steps;
    const int64_t sections = SectionsOf(steps, words);
    const Chunk chunk = {QconvStepsOf(args, group, first, steps, listed_steps), steps,
                         sections > 0 ? (steps + sections - 1) / sections : 0, weights};
    for (int64_t b = 0; b < kBlocks; ++b) {
      ExpandQconvWeightsAvx2(args.kind, QconvBlockOf(group, channel / kLanes + b), first, steps,
                             weights + b * kStepBytes, kBlocks * kStepBytes);
    }
    const Pass pass = {args, group.channel + channel, {first == 0, left <= chunk_steps}, below};
    CountChunk<kBlocks>(pixels, pixel_count, chunk, words, pass, sums);
    first += chunk_steps;
  } while (first < group.steps);
}

}  // namespace

void QconvAvx2(const QconvArgs& args) {
  if (args.prepared != nullptr) return QconvLookupAvx2(args);
  if (RunQconvRowsAvx2(args, QconvRowsOfAvx2)) return;
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t groups = QconvGroupCount(args);
  QconvPixel list[kListPixels];
  for (int64_t left = (pixels + kListPixels - 1) / kListPixels, first = 0; left > 0; --left) {
    const int64_t count = (pixels - first + left - 1) / left;
    ListQconvPixels(args, first, count, list);
    for (int64_t g = 0; g < groups; ++g) {
      const QconvGroup group = QconvGroupOf(args, g);
      for (int64_t channel = 0; channel < group.channels; channel += kTileBlocks * kLanes) {
        if (group.channels - channel > kLanes) {
          RunBlocks<kTileBlocks>(args, group, list, count, channel);
        } else {
          RunBlocks<1>(args, group, list, count, channel);
        }
      }
    }
    first += count;
  }
}

}  // namespace bitmill
