// A tile of the sums of a low-bit convolution in registers: some pixels x some pairs of blocks of
// output channels. What a step multiplies is a parameter:
//
//   struct Form {
//     static constexpr int64_t TilePixels(int pairs);  // whose sums have room beside the rest
//     // Adds the products of step s of a chunk.
//     template <int... kPair, int... kPixel>
//     static void AddStep(Indices<kPair...>, Indices<kPixel...>, const uint8_t* const* windows,
//                         const int32_t* step_bytes, int64_t s, const int8_t* weights,
//                         int64_t pair_stride, __m512i (*total)[sizeof...(kPair)]);
//   };
//
// For files that are compiled for AVX-512; everything is local to the file that includes it.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;       // of a block
constexpr int64_t kPairLanes = 16;  // of a vector: two blocks
constexpr int64_t kMostPairs = 4;
constexpr int64_t kMostPixels = 8;

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {
  static constexpr int kCount = sizeof...(kIndex);
};

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

// `pairs` of them from `channel` of the output on; `left`: channels from there to the last.
inline Strip StripOf(const QconvArgs& args, int64_t channel, int64_t left, int pairs) {
  Strip strip = {args, channel, {}, {}, left >= pairs * kPairLanes};
  for (int pair = 0; pair < pairs; ++pair, left -= kPairLanes) {
    strip.lanes[pair] = FirstLanes(left);
    strip.padded[pair] = FirstLanes((left + kLanes - 1) / kLanes * kLanes);
  }
  return strip;
}

// Some steps of the window: their places in it, and the weights of each step and pair.
struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  const int8_t* weights;
  int64_t step_stride, pair_stride;
  bool first, last;
};

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
template <typename Form, typename Pairs, int... kPixel>
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
    Form::AddStep(kPairs, Indices<kPixel...>(), windows, chunk.step_bytes, s, weights, pair_stride,
                  total);
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

template <typename Form, typename Pairs, int... kPixel>
constexpr CountFn TileOf() {
  if constexpr (int64_t{sizeof...(kPixel)} <= Form::TilePixels(Pairs::kCount)) {
    return CountTile<Form, Pairs, kPixel...>;
  }
  return nullptr;
}

// One chunk for all listed pixels, in tiles of sizes as equal as can be.
template <typename Form, typename Pairs>
void CountChunk(const Strip& strip, const QconvPixel* pixels, int64_t pixel_count,
                const Chunk& chunk, int32_t* sums) {
  static constexpr CountFn kTiles[kMostPixels] = {TileOf<Form, Pairs, 0>(),
                                                  TileOf<Form, Pairs, 0, 1>(),
                                                  TileOf<Form, Pairs, 0, 1, 2>(),
                                                  TileOf<Form, Pairs, 0, 1, 2, 3>(),
                                                  TileOf<Form, Pairs, 0, 1, 2, 3, 4>(),
                                                  TileOf<Form, Pairs, 0, 1, 2, 3, 4, 5>(),
                                                  TileOf<Form, Pairs, 0, 1, 2, 3, 4, 5, 6>(),
                                                  TileOf<Form, Pairs, 0, 1, 2, 3, 4, 5, 6, 7>()};
  constexpr int64_t kTilePixels = Form::TilePixels(Pairs::kCount);
  const int64_t tile_count = (pixel_count + kTilePixels - 1) / kTilePixels;
  const int64_t smaller = pixel_count / tile_count;
  const int64_t larger_count = pixel_count % tile_count;
  for (int64_t t = 0; t < tile_count; ++t) {
    const int64_t size = smaller + (t < larger_count ? 1 : 0);
    kTiles[size - 1](strip, pixels, chunk, sums);
    pixels += size;
    sums += size * Pairs::kCount * kPairLanes;
  }
}

}  // namespace
}  // namespace bitmill
