// Float outputs of tiles of counts with everything that follows them, or as planes. Transposing
// the latter takes 64 shuffles, for which the products beside them leave the port free.
#include "kernels/bconv/bconv_finish_avx512.h"

#include <immintrin.h>
#include <stdint.h>

#include "kernels/bconv/bconv_finish.h"
#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

// Where `base` of each pixel of a span begins.
void FindBases(const BconvArgs& args, const BconvSpan& span, const int32_t** bases) {
  const int32_t* const first = args.base + span.channel;
  if (args.row_class == nullptr) {
    ForEach<kMaxPixels>([&](int p) __attribute__((always_inline)) { bases[p] = first; });
    return;
  }
  const int64_t padded = (args.out_channels + 7) / 8 * 8;
  const int32_t* const classes = args.col_class + span.column;
  const int32_t* const row = first + int64_t{args.row_class[span.line]} * args.col_classes * padded;
  const int64_t last = span.count - 1;
  ForEach<kMaxPixels>([&](int p) __attribute__((always_inline)) {
    bases[p] = row + classes[p < last ? p : last] * padded;
  });
}

// Rounds of interleaving: vector i of pixels becomes vector i of channels.
inline void Transpose(Values<kMaxPixels>& values) {
  __m512 pairs[kMaxPixels];
  ForEach<kMaxPixels / 2>([&](int i) __attribute__((always_inline)) {
    pairs[2 * i] = _mm512_unpacklo_ps(values.of[2 * i], values.of[2 * i + 1]);
    pairs[2 * i + 1] = _mm512_unpackhi_ps(values.of[2 * i], values.of[2 * i + 1]);
  });
  // fours[4 * q + c]: channels c, c + 4, c + 8 and c + 12 of pixels 4 * q to 4 * q + 3.
  __m512 fours[kMaxPixels];
  ForEach<kMaxPixels / 4>([&](int q) __attribute__((always_inline)) {
    const __m512d a = _mm512_castps_pd(pairs[4 * q]), b = _mm512_castps_pd(pairs[4 * q + 2]);
    const __m512d c = _mm512_castps_pd(pairs[4 * q + 1]), d = _mm512_castps_pd(pairs[4 * q + 3]);
    fours[4 * q] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    fours[4 * q + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    fours[4 * q + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
    fours[4 * q + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
  });
  ForEach<4>([&](int c) __attribute__((always_inline)) {
    constexpr int kEven = 0x88, kOdd = 0xdd;
    const __m512 low = _mm512_shuffle_f32x4(fours[c], fours[4 + c], kEven);
    const __m512 low_odd = _mm512_shuffle_f32x4(fours[c], fours[4 + c], kOdd);
    const __m512 high = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], kEven);
    const __m512 high_odd = _mm512_shuffle_f32x4(fours[8 + c], fours[12 + c], kOdd);
    values.of[c] = _mm512_shuffle_f32x4(low, high, kEven);
    values.of[c + 4] = _mm512_shuffle_f32x4(low_odd, high_odd, kEven);
    values.of[c + 8] = _mm512_shuffle_f32x4(low, high, kOdd);
    values.of[c + 12] = _mm512_shuffle_f32x4(low_odd, high_odd, kOdd);
  });
}

template <bool kFull, typename CountOf>
void StorePlanes(const Half<kFull>& half, CountOf count_of) {
  Values<kMaxPixels> values;
  Scale(half, count_of, values);
  Transpose(values);
  const BconvArgs& args = half.args;
  const int64_t left = args.out_channels - half.channel;
  const auto pixels = static_cast<__mmask16>((uint32_t{1} << half.span.count) - 1);
  float* const to = args.out_float + half.span.out + half.channel * args.out_channel;
  ForEachOf<kMaxPixels>(
      left < kMaxPixels ? left : kMaxPixels, [&](int c) __attribute__((always_inline)) {
        _mm512_mask_storeu_ps(to + c * args.out_channel, pixels, values.of[c]);
      });
}

template <bool kFull>
void FinishCounts(const Half<kFull>& half, const int32_t* counts) {
  const auto count_of = [&](int p) __attribute__((always_inline)) {
    return _mm512_load_si512(counts + p * kSpanLanes);
  };
  if (half.args.out_channel != 1) {
    StorePlanes(half, count_of);
  } else if (half.span.count > kMaxPixels / 2) {
    FinishHalf<kMaxPixels>(half, count_of);
  } else {
    FinishHalf<kMaxPixels / 2>(half, count_of);
  }
}

}  // namespace

void FinishBconvSpanAvx512(const BconvArgs& args, const BconvSpan& span) {
  const int32_t* bases[kMaxPixels];
  FindBases(args, span, bases);
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t channel = span.channel + i * kSpanLanes;
    const int64_t left = args.out_channels - channel;
    if (left <= 0) return;
    const auto lanes =
        static_cast<__mmask16>(left >= kSpanLanes ? 0xffff : (uint32_t{1} << left) - 1);
    const int32_t* const counts = span.counts + i * span.second;
    if (lanes == 0xffff) {
      FinishCounts(Half<true>{args, span, bases, channel, lanes}, counts);
    } else {
      FinishCounts(Half<false>{args, span, bases, channel, lanes}, counts);
    }
  }
}

}  // namespace bitmill
