// Outputs from tiles of counts. Limits, base, scale and bias stay in registers over a run of pixels
// of one class, so that 32 bits cost two comparisons and one store.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

// Which of 16 channels there are, in each of two tiles.
struct Lanes {
  __mmask16 first, second;
};

Lanes LanesOf(int64_t channels) {
  const uint32_t all = channels >= 2 * kSpanLanes ? ~0U : (1U << channels) - 1;
  return {static_cast<__mmask16>(all), static_cast<__mmask16>(all >> kSpanLanes)};
}

// Two tiles' worth of one row of a table of int32 or float.
struct Pair {
  __m512i first, second;
};

Pair LoadPair(const void* row, const Lanes& lanes) {
  const auto* const values = static_cast<const int32_t*>(row);
  return {_mm512_maskz_loadu_epi32(lanes.first, values),
          _mm512_maskz_loadu_epi32(lanes.second, values + kSpanLanes)};
}

void StoreBits(const BconvArgs& args, const BconvSpan& span, int64_t row, const Lanes& lanes) {
  const Pair limits = LoadPair(args.limits + row + span.channel, lanes);
  const int64_t left = args.out_channels - span.channel;
  const int64_t bytes = left >= 2 * kSpanLanes ? 4 : (left + 7) / 8;
  uint8_t* out = args.out_bits + span.out + span.channel / 8;
  const int32_t* counts = span.counts;
  for (int64_t p = 0; p < span.count; ++p, out += args.out_pixel, counts += kSpanLanes) {
    const __mmask16 first =
        _mm512_mask_cmpgt_epi32_mask(lanes.first, _mm512_load_si512(counts), limits.first);
    const __mmask16 second = _mm512_mask_cmpgt_epi32_mask(
        lanes.second, _mm512_load_si512(counts + span.second), limits.second);
    const uint32_t bits = uint32_t{second} << kSpanLanes | first;
    if (bytes == 4) {
      memcpy(out, &bits, sizeof(bits));
    } else {
      for (int64_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>(bits >> (8 * i));
    }
  }
}

inline __m512i Accumulator(const int32_t* counts, __m512i base) {
  const __m512i x = _mm512_load_si512(counts);
  return _mm512_sub_epi32(base, _mm512_add_epi32(x, x));
}

void StoreInts(const BconvArgs& args, const BconvSpan& span, int64_t row, const Lanes& lanes) {
  const Pair base = LoadPair(args.base + row + span.channel, lanes);
  int32_t* out = args.out_int32 + span.out + span.channel;
  const int32_t* counts = span.counts;
  for (int64_t p = 0; p < span.count; ++p, out += args.out_pixel, counts += kSpanLanes) {
    _mm512_mask_storeu_epi32(out, lanes.first, Accumulator(counts, base.first));
    _mm512_mask_storeu_epi32(out + kSpanLanes, lanes.second,
                             Accumulator(counts + span.second, base.second));
  }
}

inline __m512 Scaled(const int32_t* counts, __m512i base, __m512i scale, __m512i bias) {
  const __m512 value = _mm512_cvtepi32_ps(Accumulator(counts, base));
  return _mm512_add_ps(_mm512_mul_ps(value, _mm512_castsi512_ps(scale)), _mm512_castsi512_ps(bias));
}

void StoreFloats(const BconvArgs& args, const BconvSpan& span, int64_t row, const Lanes& lanes) {
  const Pair base = LoadPair(args.base + row + span.channel, lanes);
  const Pair scale = LoadPair(args.scale + span.channel, lanes);
  const Pair bias = LoadPair(args.bias + span.channel, lanes);
  float* out = args.out_float + span.out + span.channel;
  const int32_t* counts = span.counts;
  for (int64_t p = 0; p < span.count; ++p, out += args.out_pixel, counts += kSpanLanes) {
    _mm512_mask_storeu_ps(out, lanes.first, Scaled(counts, base.first, scale.first, bias.first));
    _mm512_mask_storeu_ps(out + kSpanLanes, lanes.second,
                          Scaled(counts + span.second, base.second, scale.second, bias.second));
  }
}

}  // namespace

void StoreBconvSpanAvx512(const BconvArgs& args, const BconvSpan& span) {
  if (args.finish != nullptr || args.out_channel != 1) return FinishBconvSpanAvx512(args, span);
  const Lanes lanes = LanesOf(args.out_channels - span.channel);
  const int64_t padded = (args.out_channels + 7) / 8 * 8;
  BconvSpan run = span;
  for (int64_t done = 0; done < span.count; done += run.count) {
    run.out = span.out + done * args.out_pixel;
    run.counts = span.counts + done * kSpanLanes;
    run.count = span.count - done;
    int64_t row = 0;
    if (args.row_class != nullptr) {
      const int32_t* const kinds = args.col_class + span.column + done;
      row = (int64_t{args.row_class[span.line]} * args.col_classes + kinds[0]) * padded;
      int64_t alike = 1;
      while (alike < run.count && kinds[alike] == kinds[0]) ++alike;
      run.count = alike;
    }
    if (args.out_bits != nullptr) {
      StoreBits(args, run, row, lanes);
    } else if (args.out_int32 != nullptr) {
      StoreInts(args, run, row, lanes);
    } else {
      StoreFloats(args, run, row, lanes);
    }
  }
}

}  // namespace bitmill
