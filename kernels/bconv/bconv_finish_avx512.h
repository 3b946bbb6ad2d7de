// Float outputs of neighbouring pixels and 16 channels with everything that follows them
// (bconv_finish.h): they stay in as many registers as there are pixels from the first operation to
// the last. Private to files of AVX-512; templates alone, all of internal linkage, since each file
// is compiled for an instruction set of its own.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_finish.h"
#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {  // NOLINT(google-build-namespaces): see above

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

// 16 channels of a span: which of them there are, and where they begin. kFull: all of them, and
// whatever is read and written in memory is so without masks.
template <bool kFull>
struct Half {
  const BconvArgs& args;
  const BconvSpan& span;
  const int32_t* const* bases;  // of each pixel, the span's first channel
  int64_t channel;
  __mmask16 lanes;

  __m512 Load(const float* from) const {
    if constexpr (kFull) return _mm512_loadu_ps(from);
    return _mm512_maskz_loadu_ps(lanes, from);
  }
  __m512i Load(const int32_t* from) const {
    if constexpr (kFull) return _mm512_loadu_si512(from);
    return _mm512_maskz_loadu_epi32(lanes, from);
  }
  void Store(float* to, __m512 values) const {
    if constexpr (kFull) {
      _mm512_storeu_ps(to, values);
    } else {
      _mm512_mask_storeu_ps(to, lanes, values);
    }
  }
};

// count_of(p): counts of pixel p.
template <bool kFull, int kPixels, typename CountOf>
inline __attribute__((always_inline)) void Scale(const Half<kFull>& half, CountOf count_of,
                                                 Values<kPixels>& values) {
  const BconvArgs& args = half.args;
  const __m512 scale = half.Load(args.scale + half.channel);
  const __m512 bias = half.Load(args.bias + half.channel);
  const int64_t offset = half.channel - half.span.channel;
  ForEach<kPixels>([&](int p) __attribute__((always_inline)) {
    const __m512i base = half.Load(half.bases[p] + offset);
    const __m512i x = count_of(p);
    const __m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(base, _mm512_add_epi32(x, x)));
    values.of[p] = _mm512_add_ps(_mm512_mul_ps(value, scale), bias);
  });
}

inline __m512 LeakyRelu(__m512 x, __m512 slope) {
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mask_mul_ps(x, negative, slope, x);
}

// Of equal values, or where one is NaN, the second operand: y < x ? x : y as the formulas have it.
inline __m512 Relu(__m512 x) { return _mm512_max_ps(_mm512_setzero_ps(), x); }

inline __m512 Clip(__m512 x, __m512 a, __m512 b) { return _mm512_min_ps(b, _mm512_max_ps(a, x)); }

template <bool kFull, int kPixels>
inline __attribute__((always_inline)) void AddMap(const Half<kFull>& half, const float* map,
                                                  Values<kPixels>& values) {
  const float* const from = map + half.span.out + half.channel;
  ForEachOf<kPixels>(
      half.span.count, [&](int p) __attribute__((always_inline)) {
        const __m512 other = half.Load(from + p * half.args.out_pixel);
        values.of[p] = _mm512_add_ps(values.of[p], other);
      });
}

template <bool kFull, int kPixels>
inline __attribute__((always_inline)) void Apply(const Half<kFull>& half, const BconvFinishOp& op,
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
    case FmapOp::kDiv:
      return all([&](__m512 x) { return _mm512_div_ps(x, a); });
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

template <bool kFull, int kPixels>
inline __attribute__((always_inline)) void StoreSigns(const Half<kFull>& half,
                                                      const Values<kPixels>& values) {
  const BconvFinish& finish = *half.args.finish;
  const __m512 thresholds = _mm512_loadu_ps(finish.thresholds + half.channel);
  const uint16_t inverted = finish.inverted[half.channel / kSpanLanes];
  uint8_t* const to = finish.signs + half.span.image * finish.sign_image +
                      half.span.line * finish.sign_row + half.span.column * finish.sign_pixel +
                      half.channel / 8;
  const auto below = [&](int p) __attribute__((always_inline)) {
    return _mm512_cmp_ps_mask(values.of[p], thresholds, _CMP_NGE_UQ);
  };
  if ((kFull || half.lanes == 0xffff) && inverted == 0) {
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

template <int kPixels, bool kFull, typename CountOf>
inline __attribute__((always_inline)) void FinishHalf(const Half<kFull>& half, CountOf count_of) {
  const BconvFinish& finish = *half.args.finish;
  Values<kPixels> values;
  Scale(half, count_of, values);
  for (int32_t i = 0; i < finish.count; ++i) Apply(half, finish.ops[i], values);
  float* const to = half.args.out_float + half.span.out + half.channel;
  ForEachOf<kPixels>(
      half.span.count, [&](int p) __attribute__((always_inline)) {
        half.Store(to + p * half.args.out_pixel, values.of[p]);
      });
  if (finish.signs != nullptr) StoreSigns(half, values);
}

}  // namespace
}  // namespace bitmill
