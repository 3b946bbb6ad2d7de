// Float outputs of tiles of counts with everything that follows them (bconv_finish.h), or as
// planes: the values of 16 pixels and 16 channels stay in as many registers from the first
// operation to the last. Transposing them takes 64 shuffles, for which the products beside them
// leave the port free.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_finish.h"
#include "kernels/bconv/bconv_parts.h"
#include "kernels/tiles_amx.h"

namespace bitmill {
namespace {

constexpr int kMaxPixels = 16;

// Of as many pixels; those past the span's last are computed in vain.
template <int kPixels>
struct Values {
  __m512 of[kPixels];
};

template <int kPixels, typename Fn>
inline __attribute__((always_inline)) void ForEach(Fn fn) {
#pragma GCC unroll 16
  for (int p = 0; p < kPixels; ++p) fn(p);
}

// Only the pixels that there are.
template <int kPixels, typename Fn>
inline __attribute__((always_inline)) void ForEachOf(int64_t count, Fn fn) {
  if (count == kPixels) return ForEach<kPixels>(fn);
  ForEach<kPixels>([&](int p) __attribute__((always_inline)) {
    if (p < count) fn(p);
  });
}

// 16 channels of a span: which of them there are, and where they begin.
struct Half {
  const BconvArgs& args;
  const BconvSpan& span;
  const int32_t* const* bases;  // of each pixel, the span's first channel
  const int32_t* counts;
  int64_t channel;
  __mmask16 lanes;
};

template <int kPixels>
inline __attribute__((always_inline)) void Scale(const Half& half, Values<kPixels>& values) {
  const BconvArgs& args = half.args;
  const __m512 scale = _mm512_maskz_loadu_ps(half.lanes, args.scale + half.channel);
  const __m512 bias = _mm512_maskz_loadu_ps(half.lanes, args.bias + half.channel);
  const int64_t offset = half.channel - half.span.channel;
  ForEach<kPixels>([&](int p) __attribute__((always_inline)) {
    const __m512i base = _mm512_maskz_loadu_epi32(half.lanes, half.bases[p] + offset);
    const __m512i x = _mm512_load_si512(half.counts + p * kTileRows);
    const __m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(base, _mm512_add_epi32(x, x)));
    values.of[p] = _mm512_add_ps(_mm512_mul_ps(value, scale), bias);
  });
}

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

inline __m512 LeakyRelu(__m512 x, __m512 slope) {
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mask_mul_ps(x, negative, slope, x);
}

inline __m512 Relu(__m512 x) {
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mask_mov_ps(x, negative, _mm512_setzero_ps());
}

inline __m512 Clip(__m512 x, __m512 a, __m512 b) {
  const __m512 low = _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, a, _CMP_LT_OQ), a);
  return _mm512_mask_mov_ps(low, _mm512_cmp_ps_mask(b, low, _CMP_LT_OQ), b);
}

template <int kPixels>
inline __attribute__((always_inline)) void AddMap(const Half& half, const float* map,
                                                  Values<kPixels>& values) {
  const float* const from = map + half.span.out + half.channel;
  ForEachOf<kPixels>(
      half.span.count, [&](int p) __attribute__((always_inline)) {
        const __m512 other = _mm512_maskz_loadu_ps(half.lanes, from + p * half.args.out_pixel);
        values.of[p] = _mm512_add_ps(values.of[p], other);
      });
}

template <int kPixels>
inline __attribute__((always_inline)) void Apply(const Half& half, const BconvFinishOp& op,
                                                 Values<kPixels>& values) {
  if (op.map != nullptr) return AddMap(half, op.map, values);
  const auto load = [&](const float* from) {
    return from == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(from + half.channel);
  };
  const __m512 a = load(op.a), b = load(op.b);
  const auto all = [&](auto fn) __attribute__((always_inline)) {
    ForEach<kPixels>([&](int p)
                         __attribute__((always_inline)) { values.of[p] = fn(values.of[p]); });
  };
  switch (op.op) {
    case FmapOp::kAdd:
      return all([&](__m512 x) { return _mm512_add_ps(x, a); });
    case FmapOp::kSub:
      return all([&](__m512 x) { return _mm512_sub_ps(x, a); });
    case FmapOp::kMul:
      return all([&](__m512 x) { return _mm512_mul_ps(x, a); });
    case FmapOp::kClip:
      return all([&](__m512 x) { return Clip(x, a, b); });
    case FmapOp::kRelu:
      return all([&](__m512 x) { return Relu(x); });
    case FmapOp::kLeakyRelu:
      return all([&](__m512 x) { return LeakyRelu(x, a); });
    case FmapOp::kHardTanh:
      return all([&](__m512 x) { return Clip(x, _mm512_set1_ps(-1.0F), _mm512_set1_ps(1.0F)); });
    default:
      return;
  }
}

template <int kPixels>
inline __attribute__((always_inline)) void StoreSigns(const Half& half,
                                                      const Values<kPixels>& values) {
  const BconvFinish& finish = *half.args.finish;
  const __m512 thresholds = _mm512_loadu_ps(finish.thresholds + half.channel);
  const uint16_t inverted = finish.inverted[half.channel / kTileRows];
  uint8_t* const to = finish.signs + half.span.image * finish.sign_image +
                      half.span.line * finish.sign_row + half.span.column * finish.sign_pixel +
                      half.channel / 8;
  const auto below = [&](int p) __attribute__((always_inline)) {
    return _mm512_cmp_ps_mask(values.of[p], thresholds, _CMP_NGE_UQ);
  };
  if (half.lanes == 0xffff && inverted == 0) {
    ForEachOf<kPixels>(
        half.span.count, [&](int p) __attribute__((always_inline)) {
          const __mmask16 bits = below(p);
          memcpy(to + p * finish.sign_pixel, &bits, sizeof(bits));
        });
    return;
  }
  ForEachOf<kPixels>(
      half.span.count, [&](int p) __attribute__((always_inline)) {
        const auto bits = static_cast<uint16_t>((below(p) & half.lanes) ^ inverted);
        memcpy(to + p * finish.sign_pixel, &bits, half.lanes > 0xff ? 2 : 1);
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

void StorePlanes(const Half& half) {
  Values<kMaxPixels> values;
  Scale(half, values);
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

template <int kPixels>
void FinishHalf(const Half& half) {
  const BconvFinish& finish = *half.args.finish;
  Values<kPixels> values;
  Scale(half, values);
  for (int32_t i = 0; i < finish.count; ++i) Apply(half, finish.ops[i], values);
  float* const to = half.args.out_float + half.span.out + half.channel;
  ForEachOf<kPixels>(
      half.span.count, [&](int p) __attribute__((always_inline)) {
        _mm512_mask_storeu_ps(to + p * half.args.out_pixel, half.lanes, values.of[p]);
      });
  if (finish.signs != nullptr) StoreSigns(half, values);
}

}  // namespace

void FinishBconvSpanAmx(const BconvArgs& args, const BconvSpan& span) {
  const int32_t* bases[kMaxPixels];
  FindBases(args, span, bases);
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t channel = span.channel + i * kTileRows;
    const int64_t left = args.out_channels - channel;
    if (left <= 0) return;
    const auto lanes =
        static_cast<__mmask16>(left >= kTileRows ? 0xffff : (uint32_t{1} << left) - 1);
    const Half half = {args, span, bases, span.counts + i * span.second, channel, lanes};
    if (args.out_channel != 1) {
      StorePlanes(half);
      continue;
    }
    span.count > kMaxPixels / 2 ? FinishHalf<kMaxPixels>(half) : FinishHalf<kMaxPixels / 2>(half);
  }
}

}  // namespace bitmill
