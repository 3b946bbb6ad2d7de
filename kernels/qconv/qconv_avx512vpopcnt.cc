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

#include "kernels/qconv/qconv_2of4.h"
#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/qconv_parts.h"
#include "kernels/qconv/qconv_tile_avx512.h"

namespace bitmill {

void QconvAvx512Vpopcnt(const QconvArgs& args);

namespace {

constexpr int64_t kPairBytes = 64;    // of expanded weights of a step
constexpr int64_t kListPixels = 256;  // that share expanded weights
constexpr int64_t kChunkSteps = 80;   // 20 KiB of expanded weights; sums of more wait in memory

// Four activation bytes in every lane.
inline __m512i Broadcast(const uint8_t* bytes) {
  int32_t word;
  memcpy(&word, bytes, sizeof(word));
  return _mm512_set1_epi32(word);
}

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

// A step is four bytes of the window: dense weights.
struct DenseForm {
  static constexpr int64_t TilePixels(int pairs) { return pairs == kMostPairs ? 6 : kMostPixels; }

  template <int... kPair>
  static void AddProducts(Indices<kPair...>, __m512i a, const __m512i* weights, __m512i* sums) {
    ((sums[kPair] = _mm512_dpbusd_epi32(sums[kPair], a, weights[kPair]),
      KeepInRegister(&sums[kPair])),
     ...);
  }

  template <int... kPair, int... kPixel>
  static void AddStep(Indices<kPair...> pairs, Indices<kPixel...>, const uint8_t* const* windows,
                      const int32_t* step_bytes, int64_t s, const int8_t* weights,
                      int64_t pair_stride, __m512i (*total)[sizeof...(kPair)]) {
    const int64_t offset = step_bytes[s];
    const __m512i w[] = {_mm512_loadu_si512(weights + kPair * pair_stride)...};
    (AddProducts(pairs, Broadcast(windows[kPixel] + offset), w, total[kPixel]), ...);
  }
};

// All steps of kPairs pairs of blocks from `channel` of the group on for the listed pixels.
template <typename Pairs>
void RunPairs(const QconvArgs& args, const QconvGroup& group, const QconvPixel* pixels,
              int64_t pixel_count, int64_t channel) {
  constexpr int kPairs = Pairs::kCount;
  constexpr int64_t kStepBytes = kPairs * kPairBytes;
  alignas(64) int8_t weights[kChunkSteps * kStepBytes];
  alignas(64) int32_t sums[kListPixels * kPairs * kPairLanes];
  int32_t steps[kChunkSteps];
  const Strip strip = StripOf(args, group.channel + channel, group.channels - channel, kPairs);
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
    CountChunk<DenseForm, Pairs>(strip, pixels, pixel_count, chunk, sums);
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
  if (args.prepared != nullptr) {
    return QconvTakesTables(args) ? QconvLookupAvx512Vpopcnt(args) : Qconv2of4Avx512Vpopcnt(args);
  }
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
