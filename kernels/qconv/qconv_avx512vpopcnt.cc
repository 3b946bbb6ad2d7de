// Signed bytes of weights, expanded once for a list of pixels, times unsigned bytes of activations:
// vpdpbusd adds four products into 32 bits without saturation, so every kind of weight is exact.
//
// Tile: 6 pixels x 64 output channels. A step of 4 input channels loads 4 vectors of weights and 6
// broadcast activations for 24 vpdpbusd, 1536 products: 24 cycles where one port multiplies (Zen
// 4), 12 where two do, 64 or 128 MAC a cycle; loads take 5. Expansion costs 3 operations for 64
// weights and list. Sums leave the registers as outputs: their lines are fetched while the next
// tile is multiplied. Few pixels are not worth it: kernels/qconv/qconv_rows_avx512vpopcnt.cc.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvAvx512Vpopcnt(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;       // of a block
constexpr int64_t kPairLanes = 16;  // of a vector: two blocks
constexpr int64_t kPairBytes = 64;  // of expanded weights of a step
constexpr int64_t kMostPairs = 4;
constexpr int64_t kMostPixels = 8;
constexpr int64_t kListPixels = 256;  // that share expanded weights
constexpr int64_t kChunkSteps = 80;   // 20 KiB of expanded weights; sums of more wait in memory

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {
  static constexpr int kCount = sizeof...(kIndex);
};

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

inline __mmask16 FirstLanes(int64_t count) {
  return count >= kPairLanes ? 0xffff : static_cast<__mmask16>((1U << count) - 1);
}

// A few pairs of blocks: where their outputs begin, and which lanes exist.
struct Strip {
  const QconvArgs& args;
  int64_t channel;  // of the output
  __mmask16 lanes[kMostPairs];
  __mmask16 padded[kMostPairs];  // to blocks: what of base, scale and bias may be read
  bool full;                     // all lanes exist
};

// Some steps of the window, expanded, or weights of 8 bits where they are: 64 bytes of each step
// and pair.
struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  const int8_t* weights;
  int64_t step_stride, pair_stride;
  bool first, last;
};

template <int kBits>
inline __m512i ExpandStep(__m512i unit, int step) {
  if constexpr (kBits == 8) {
    return unit;
  } else if constexpr (kBits == 1) {
    const __mmask64 negative =
        _mm512_test_epi8_mask(unit, _mm512_set1_epi8(static_cast<char>(1 << step)));
    return _mm512_mask_blend_epi8(negative, _mm512_set1_epi8(1), _mm512_set1_epi8(-1));
  } else {
    const __m512i above = _mm512_srl_epi16(unit, _mm_cvtsi32_si128(step * kBits));
    const __m512i codes = _mm512_and_si512(above, _mm512_set1_epi8((1 << kBits) - 1));
    return _mm512_sub_epi8(codes, _mm512_set1_epi8(1 << (kBits - 1)));
  }
}

// Steps `first` (a multiple of 8) to `first + count - 1` of a pair of blocks, or of one.
template <int kBits>
void ExpandPair(const QconvBlock& block, int64_t first, int64_t count, int8_t* out,
                int64_t stride) {
  constexpr int64_t kSteps = 8 / kBits;
  const bool whole = block.unit_stride == kPairBytes;
  const uint8_t* units = block.units + first / kSteps * block.unit_stride;
  for (int64_t s = 0; s < count; s += kSteps, units += block.unit_stride) {
    const __m512i unit =
        whole ? _mm512_loadu_si512(units)
              : _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(units)));
    const int64_t here = count - s < kSteps ? count - s : kSteps;
    if (here == kSteps) {
#pragma GCC unroll 8
      for (int i = 0; i < kSteps; ++i) {
        _mm512_store_si512(out + (s + i) * stride, ExpandStep<kBits>(unit, i));
      }
    } else {
      for (int i = 0; i < here; ++i) {
        _mm512_store_si512(out + (s + i) * stride, ExpandStep<kBits>(unit, i));
      }
    }
  }
}

void ExpandPair(QconvWeights kind, const QconvBlock& block, int64_t first, int64_t count,
                int8_t* out, int64_t stride) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return ExpandPair<1>(block, first, count, out, stride);
    case QconvWeights::k2Bit:
      return ExpandPair<2>(block, first, count, out, stride);
    case QconvWeights::k4Bit:
      return ExpandPair<4>(block, first, count, out, stride);
    case QconvWeights::k8Bit:
      return ExpandPair<8>(block, first, count, out, stride);
  }
}

template <int... kPair>
inline void AddProducts(Indices<kPair...>, __m512i a, const __m512i* weights, __m512i* sums) {
  ((sums[kPair] = _mm512_dpbusd_epi32(sums[kPair], a, weights[kPair]),
    KeepInRegister(&sums[kPair])),
   ...);
}

template <int... kPair>
inline void LoadWeights(Indices<kPair...>, const int8_t* place, int64_t stride, __m512i* weights) {
  ((weights[kPair] = _mm512_loadu_si512(place + kPair * stride)), ...);
}

template <int... kPair>
inline void LoadBase(Indices<kPair...>, const Strip& strip, __m512i* sums) {
  const int32_t* const base = strip.args.base + strip.channel;
  ((sums[kPair] = _mm512_maskz_loadu_epi32(strip.padded[kPair], base + kPair * kPairLanes)), ...);
}

template <int... kPair>
inline void Load(Indices<kPair...>, const int32_t* place, __m512i* sums) {
  ((sums[kPair] = _mm512_load_si512(place + kPair * kPairLanes)), ...);
}

template <int... kPair>
inline void Store(Indices<kPair...>, const __m512i* sums, int32_t* place) {
  (_mm512_store_si512(place + kPair * kPairLanes, sums[kPair]), ...);
}

template <bool kFull>
inline void StoreLanes(const Strip& strip, int pair, __m512i values, void* place) {
  if constexpr (kFull) {
    _mm512_storeu_si512(place, values);
  } else {
    _mm512_mask_storeu_epi32(place, strip.lanes[pair], values);
  }
}

template <bool kFull>
inline __m512 LoadFloats(const Strip& strip, int pair, const float* values) {
  const float* const place = values + strip.channel + pair * kPairLanes;
  if constexpr (kFull) return _mm512_loadu_ps(place);
  return _mm512_maskz_loadu_ps(strip.padded[pair], place);
}

template <bool kFull>
inline __m512i Scaled(const Strip& strip, int pair, __m512i sums) {
  const __m512 scaled =
      _mm512_mul_ps(_mm512_cvtepi32_ps(sums), LoadFloats<kFull>(strip, pair, strip.args.scale));
  return _mm512_castps_si512(
      _mm512_add_ps(scaled, LoadFloats<kFull>(strip, pair, strip.args.bias)));
}

// Inlined always: sums that a call takes by address would leave their registers.
template <bool kFull, int... kPair>
inline __attribute__((always_inline)) void Output(Indices<kPair...>, const Strip& strip,
                                                  const __m512i* sums, int64_t out) {
  if (strip.args.out_int32 != nullptr) {
    int32_t* const place = strip.args.out_int32 + strip.channel + out;
    (StoreLanes<kFull>(strip, kPair, sums[kPair], place + kPair * kPairLanes), ...);
  } else {
    float* const place = strip.args.out_float + strip.channel + out;
    (StoreLanes<kFull>(strip, kPair, Scaled<kFull>(strip, kPair, sums[kPair]),
                       place + kPair * kPairLanes),
     ...);
  }
}

// A chunk for a tile of pixels; sums[pixel][pair][16] are kept from chunk to chunk.
template <typename Pairs, int... kPixel>
void CountTile(const Strip& strip, const QconvPixel* pixels, const Chunk& chunk, int32_t* sums) {
  constexpr Pairs kPairs;
  constexpr int kPixels = sizeof...(kPixel);
  constexpr int64_t kSumLanes = Pairs::kCount * kPairLanes;
  const uint8_t* const windows[kPixels] = {pixels[kPixel].window...};
  __m512i total[kPixels][Pairs::kCount];
  if (chunk.first) {
    (LoadBase(kPairs, strip, total[kPixel]), ...);
  } else {
    (Load(kPairs, sums + kPixel * kSumLanes, total[kPixel]), ...);
  }
  const int8_t* weights = chunk.weights;
  const int64_t step_stride = chunk.step_stride, pair_stride = chunk.pair_stride;
  for (int64_t s = 0; s < chunk.steps; ++s, weights += step_stride) {
    const int64_t offset = chunk.step_bytes[s];
    __m512i w[Pairs::kCount];
    LoadWeights(kPairs, weights, pair_stride, w);
    (AddProducts(kPairs, Broadcast(windows[kPixel] + offset), w, total[kPixel]), ...);
  }
  if (!chunk.last) {
    (Store(kPairs, total[kPixel], sums + kPixel * kSumLanes), ...);
  } else if (strip.full) {
    (Output<true>(kPairs, strip, total[kPixel], pixels[kPixel].out), ...);
  } else {
    (Output<false>(kPairs, strip, total[kPixel], pixels[kPixel].out), ...);
  }
}

using CountFn = void (*)(const Strip& strip, const QconvPixel* pixels, const Chunk& chunk,
                         int32_t* sums);

// Pixels whose sums have room in the registers beside weights.
template <typename Pairs>
constexpr int64_t kTilePixels = Pairs::kCount == kMostPairs ? 6 : kMostPixels;

template <typename Pairs, int... kPixel>
constexpr CountFn TileOf() {
  if constexpr (sizeof...(kPixel) <= kTilePixels<Pairs>) return CountTile<Pairs, kPixel...>;
  return nullptr;
}

// One chunk for all listed pixels, in tiles of sizes as equal as can be.
template <typename Pairs>
void CountChunk(const Strip& strip, const QconvPixel* pixels, int64_t pixel_count,
                const Chunk& chunk, int32_t* sums) {
  static constexpr CountFn kTiles[kMostPixels] = {TileOf<Pairs, 0>(),
                                                  TileOf<Pairs, 0, 1>(),
                                                  TileOf<Pairs, 0, 1, 2>(),
                                                  TileOf<Pairs, 0, 1, 2, 3>(),
                                                  TileOf<Pairs, 0, 1, 2, 3, 4>(),
                                                  TileOf<Pairs, 0, 1, 2, 3, 4, 5>(),
                                                  TileOf<Pairs, 0, 1, 2, 3, 4, 5, 6>(),
                                                  TileOf<Pairs, 0, 1, 2, 3, 4, 5, 6, 7>()};
  const int64_t tile_count = (pixel_count + kTilePixels<Pairs> - 1) / kTilePixels<Pairs>;
  const int64_t smaller = pixel_count / tile_count;
  const int64_t larger_count = pixel_count % tile_count;
  for (int64_t t = 0; t < tile_count; ++t) {
    const int64_t size = smaller + (t < larger_count ? 1 : 0);
    kTiles[size - 1](strip, pixels, chunk, sums);
    pixels += size;
    sums += size * Pairs::kCount * kPairLanes;
  }
}

// All steps of kPairs pairs of blocks from `channel` of the group on for the listed pixels.
template <typename Pairs>
void RunPairs(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
              int64_t pixel_count, int64_t channel) {
  constexpr int kPairs = Pairs::kCount;
  constexpr int64_t kStepBytes = kPairs * kPairBytes;
  alignas(64) int8_t weights[kChunkSteps * kStepBytes];
  alignas(64) int32_t sums[kListPixels * kPairs * kPairLanes];
  int32_t steps[kChunkSteps];
  Strip strip = {args, group.channel + channel, {}, {}, true};
  for (int pair = 0; pair < kPairs; ++pair) {
    const int64_t left = group.channels - channel - pair * kPairLanes;
    strip.lanes[pair] = FirstLanes(left);
    strip.padded[pair] = FirstLanes((left + kLanes - 1) / kLanes * kLanes);
    strip.full = strip.full && left >= kPairLanes;
  }
  const QconvBlock first_block = QconvBlockOf(group, channel / kLanes);
  // Bytes already, and pairs of blocks: nothing to expand.
  const bool in_place = args.kind == QconvWeights::k8Bit && strip.full;
  // Chunks as equal as can be, in whole units of weights.
  constexpr int64_t kMostUnitSteps = 8;
  const int64_t chunks = (group.steps + kChunkSteps - 1) / kChunkSteps;
  const int64_t most = chunks == 0 ? 0
                                   : ((group.steps + chunks - 1) / chunks + kMostUnitSteps - 1) /
                                         kMostUnitSteps * kMostUnitSteps;
  int64_t first = 0;
  do {
    const int64_t left = group.steps - first;
    const int64_t count = left < most ? left : most;
    Chunk chunk = {QconvStepsOf(args, group, first, count, steps),
                   count,
                   weights,
                   kStepBytes,
                   kPairBytes,
                   first == 0,
                   count == left};
    if (in_place) {
      chunk.weights =
          reinterpret_cast<const int8_t*>(first_block.units) + first * first_block.unit_stride;
      chunk.step_stride = first_block.unit_stride;
      chunk.pair_stride = group.unit_count * kPairBytes;
    } else {
      for (int64_t pair = 0; pair < kPairs; ++pair) {
        ExpandPair(args.kind, QconvBlockOf(group, channel / kLanes + pair * 2), first, count,
                   weights + pair * kPairBytes, kStepBytes);
      }
    }
    CountChunk<Pairs>(strip, pixels, pixel_count, chunk, sums);
    first += count;
  } while (first < group.steps);
}

void RunGroup(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
              int64_t pixel_count) {
  for (int64_t channel = 0; channel < group.channels; channel += kMostPairs * kPairLanes) {
    switch ((group.channels - channel + kPairLanes - 1) / kPairLanes) {
      case 1:
        RunPairs<Indices<0>>(args, group, pixels, pixel_count, channel);
        break;
      case 2:
        RunPairs<Indices<0, 1>>(args, group, pixels, pixel_count, channel);
        break;
      case 3:
        RunPairs<Indices<0, 1, 2>>(args, group, pixels, pixel_count, channel);
        break;
      default:
        RunPairs<Indices<0, 1, 2, 3>>(args, group, pixels, pixel_count, channel);
        break;
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
