// 2:4 weights with AVX-512: kernels/qconv/qconv_2of4.h.
//
// Tile: 6 pixels x 48 output channels (8 x 32). A double step loads 6 times 8 activations and, for
// each 16 channels, which of them and their weights; 18 vpshufb and 18 vpdpbusd for 2304 products
// of which half are with zero. On Zen 4 a vpdpbusd of 512 bits takes two ports of four and a
// vpshufb two, one of them the same: 24 cycles, 96 MAC a cycle against 64 of dense weights. Where
// two ports multiply and only one of them shuffles (Intel's servers), nothing is gained.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_2of4.h"
#include "kernels/qconv/qconv_parts.h"
#include "kernels/qconv/qconv_tile_avx512.h"

namespace bitmill {
namespace {

constexpr int64_t kVectorBytes = 64;
constexpr int64_t kPairBytes = 2 * kVectorBytes;  // of a double step
constexpr int64_t kListPixels = 192;              // that meet the weights of a chunk in turn
constexpr int64_t kChunkSteps = 48;               // double ones: 18 KiB of weights

// Eight activations, in every 8 bytes.
template <bool kAdjacent>
inline __m512i LoadEight(const uint8_t* window, const int32_t* places) {
  if constexpr (kAdjacent) {
    int64_t eight;
    memcpy(&eight, window + places[0], sizeof(eight));
    return _mm512_set1_epi64(eight);
  } else {
    int32_t first, second;
    memcpy(&first, window + places[0], sizeof(first));
    memcpy(&second, window + places[1], sizeof(second));
    return _mm512_mask_blend_epi32(0xaaaa, _mm512_set1_epi32(first), _mm512_set1_epi32(second));
  }
}

// A step is two of the window's; kAdjacent: which lie side by side, always.
template <bool kAdjacent>
struct Form2of4 {
  static constexpr int64_t TilePixels(int pairs) { return pairs == 3 ? 6 : kMostPixels; }

  template <int kPair, int kPixels, int kPairs>
  static void AddPair(const __m512i* activations, const int8_t* weights, __m512i (*total)[kPairs]) {
    const __m512i which = _mm512_load_si512(weights);
    const __m512i w = _mm512_load_si512(weights + kVectorBytes);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) {
      total[p][kPair] =
          _mm512_dpbusd_epi32(total[p][kPair], _mm512_shuffle_epi8(activations[p], which), w);
      KeepInRegister(&total[p][kPair]);
    }
  }

  template <int... kPair, int... kPixel>
  static void AddStep(Indices<kPair...>, Indices<kPixel...>, const uint8_t* const* windows,
                      const int32_t* step_bytes, int64_t s, const int8_t* weights,
                      int64_t pair_stride, __m512i (*total)[sizeof...(kPair)]) {
    constexpr int kPixels = sizeof...(kPixel);
    constexpr int kPairs = sizeof...(kPair);
    const int32_t* const places = step_bytes + 2 * s;
    const __m512i activations[kPixels] = {LoadEight<kAdjacent>(windows[kPixel], places)...};
    (AddPair<kPair, kPixels, kPairs>(activations, weights + kPair * pair_stride, total), ...);
  }
};

template <typename Form, typename Pairs>
void RunStrip(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count, int64_t channel,
              const int8_t* weights) {
  constexpr int kPairs = Pairs::kCount;
  constexpr int64_t kStepBytes = kPairs * kPairBytes;
  alignas(64) int32_t sums[kListPixels * kPairs * kPairLanes];
  int32_t last_places[2 * kChunkSteps];
  const Strip strip = StripOf(args, channel, args.out_channels - channel, kPairs);
  const int64_t steps = (int64_t{args.steps} + 1) / 2;
  const int64_t chunks = (steps + kChunkSteps - 1) / kChunkSteps;
  int64_t first = 0;
  for (int64_t left = chunks > 0 ? chunks : 1; left > 0; --left) {
    const int64_t count = (steps - first + left - 1) / left;
    const int32_t* places = args.step_bytes + 2 * first;
    // The window's last step may be alone: its place stands for the missing one.
    if (2 * (first + count) > args.steps) {
      const int64_t here = args.steps - 2 * first;
      memcpy(last_places, places, static_cast<size_t>(here) * sizeof(places[0]));
      last_places[here] = last_places[here - 1];
      places = last_places;
    }
    const Chunk chunk = {places,     count,    weights + first * kStepBytes, kStepBytes, kPairBytes,
                         first == 0, left == 1};
    CountChunk<Form, Pairs>(strip, pixels, pixel_count, chunk, sums);
    first += count;
  }
}

template <typename Form>
void RunStrips(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count) {
  const auto* weights = static_cast<const int8_t*>(args.prepared);
  const int64_t pairs = (int64_t{args.out_channels} + kPairLanes - 1) / kPairLanes;
  const int64_t steps = (int64_t{args.steps} + 1) / 2;
  for (int64_t pair = 0; pair < pairs;) {
    const int64_t count = Qconv2of4Pairs(pairs - pair);
    const auto run = count == 3   ? RunStrip<Form, Indices<0, 1, 2>>
                     : count == 2 ? RunStrip<Form, Indices<0, 1>>
                                  : RunStrip<Form, Indices<0>>;
    run(args, pixels, pixel_count, pair * kPairLanes, weights);
    weights += count * steps * kPairBytes;
    pair += count;
  }
}

bool Adjacent(const QconvArgs& args) {
  if (args.steps % 2 != 0) return false;
  for (int32_t s = 0; s < args.steps; s += 2) {
    if (args.step_bytes[s + 1] != args.step_bytes[s] + 4) return false;
  }
  return true;
}

}  // namespace

void Qconv2of4Avx512Vpopcnt(const QconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const auto run = Adjacent(args) ? RunStrips<Form2of4<true>> : RunStrips<Form2of4<false>>;
  QconvPixel list[kListPixels];
  for (int64_t left = (pixels + kListPixels - 1) / kListPixels, first = 0; left > 0; --left) {
    const int64_t count = (pixels - first + left - 1) / left;
    ListQconvPixels(args, first, count, list);
    run(args, list, count);
    first += count;
  }
}

}  // namespace bitmill
