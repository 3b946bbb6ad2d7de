// Exclusive or, then popcount by two 16-entry lookups a byte; for few pixels, where the weights
// are read once and their bandwidth counts.
//
// A block of 8 output channels is two vectors of four 64-bit lanes. Bytes are summed for up to 31
// words (31 * 8 < 256) before vpsadbw adds them into the lanes. One word of one vector takes 8
// operations (xor, two and, shift, two lookups, two additions; one more for ternary): 2 cycles on
// four vector ports for 32 bytes of weights, which is what a third-level cache delivers.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

constexpr int kLanes = 8;
constexpr int32_t kWordsPerFlush = 31;
constexpr int64_t kMaxPixels = 2;  // that share a load of weights; with more, registers run out

// Adds the set bits of each byte of `bits` to the bytes of `sum`.
inline __m256i AddByteCounts(__m256i sum, __m256i bits) {
  const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1,
                                          2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(0x0f);
  const __m256i even = _mm256_shuffle_epi8(counts, _mm256_and_si256(bits, low));
  const __m256i odd =
      _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(bits, 4), low));
  return _mm256_add_epi8(sum, _mm256_add_epi8(even, odd));
}

struct Sums {
  __m256i low, high;  // four 64-bit lanes each
};

inline __m256i Load(const uint64_t* words) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
}

inline __m256i Broadcast(const uint64_t* word) {
  return _mm256_set1_epi64x(static_cast<int64_t>(*word));
}

// Differences of one block for kPixels windows.
template <int kPlanes, int kPixels>
inline void CountBlock(const BconvGroup& group, const BconvPixel* pixels, const uint64_t* weights,
                       Sums* sums) {
  const __m256i zero = _mm256_setzero_si256();
  __m256i low[kPixels], high[kPixels];
  for (int p = 0; p < kPixels; ++p) {
    low[p] = high[p] = zero;
    sums[p].low = sums[p].high = zero;
  }
  int32_t until_flush = kWordsPerFlush;
  for (int64_t t = 0; t < group.taps; ++t) {
    const int64_t tap = group.tap_words[t];
    for (int64_t w = 0; w < group.c_words; ++w) {
      const __m256i w_low = Load(weights);
      const __m256i w_high = Load(weights + 4);
      for (int p = 0; p < kPixels; ++p) {
        const __m256i a = Broadcast(pixels[p].window + tap + w);
        if constexpr (kPlanes == 2) {
          const __m256i s_low = _mm256_xor_si256(a, Load(weights + kLanes));
          const __m256i s_high = _mm256_xor_si256(a, Load(weights + kLanes + 4));
          low[p] = AddByteCounts(low[p], _mm256_and_si256(w_low, s_low));
          high[p] = AddByteCounts(high[p], _mm256_and_si256(w_high, s_high));
        } else {
          low[p] = AddByteCounts(low[p], _mm256_xor_si256(a, w_low));
          high[p] = AddByteCounts(high[p], _mm256_xor_si256(a, w_high));
        }
      }
      weights += kPlanes * kLanes;
      if (--until_flush == 0) {
        for (int p = 0; p < kPixels; ++p) {
          sums[p].low = _mm256_add_epi64(sums[p].low, _mm256_sad_epu8(low[p], zero));
          sums[p].high = _mm256_add_epi64(sums[p].high, _mm256_sad_epu8(high[p], zero));
          low[p] = high[p] = zero;
        }
        until_flush = kWordsPerFlush;
      }
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    sums[p].low = _mm256_add_epi64(sums[p].low, _mm256_sad_epu8(low[p], zero));
    sums[p].high = _mm256_add_epi64(sums[p].high, _mm256_sad_epu8(high[p], zero));
  }
}

// The low halves of eight 64-bit lanes, in order.
inline __m256i Narrow(Sums sums) {
  const __m256 mixed =
      _mm256_shuffle_ps(_mm256_castsi256_ps(sums.low), _mm256_castsi256_ps(sums.high), 0x88);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8);
}

inline __m256i LaneMask(int64_t lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(lanes)), index);
}

inline __m256i LoadInts(const int32_t* values) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
}

void StoreBlock(const BconvArgs& args, const BconvPixel& pixel, int64_t channel, __m256i x) {
  const int64_t left = args.out_channels - channel;
  const int64_t lanes = left < kLanes ? left : kLanes;
  if (args.out_bits != nullptr) {
    const __m256i limit = LoadInts(args.limits + pixel.table_row + channel);
    const int bits = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(x, limit)));
    args.out_bits[pixel.out + channel / 8] = static_cast<uint8_t>(bits & ((1 << lanes) - 1));
    return;
  }
  const __m256i base = LoadInts(args.base + pixel.table_row + channel);
  const __m256i acc = _mm256_sub_epi32(base, _mm256_add_epi32(x, x));
  if (args.out_int32 != nullptr) {
    _mm256_maskstore_epi32(args.out_int32 + pixel.out + channel, LaneMask(lanes), acc);
    return;
  }
  const __m256 scaled =
      _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(args.scale + channel));
  const __m256 value = _mm256_add_ps(scaled, _mm256_loadu_ps(args.bias + channel));
  _mm256_maskstore_ps(args.out_float + pixel.out + channel, LaneMask(lanes), value);
}

template <int kPlanes, int kPixels>
void RunPixels(const BconvArgs& args, const BconvPixel* pixels) {
  const int64_t groups = BconvGroupCount(args);
  for (int64_t g = 0; g < groups; ++g) {
    const BconvGroup group = BconvGroupOf(args, g);
    const uint64_t* weights = group.weights;
    for (int64_t channel = 0; channel < group.channels; channel += kLanes) {
      Sums sums[kPixels];
      CountBlock<kPlanes, kPixels>(group, pixels, weights, sums);
      weights += group.block_words;
      for (int p = 0; p < kPixels; ++p) {
        StoreBlock(args, pixels[p], group.channel + channel, Narrow(sums[p]));
      }
    }
  }
}

template <int kPlanes>
void Run(const BconvArgs& args) {
  const int64_t count = int64_t{args.batch} * args.out_h * args.out_w;
  BconvPixel pixels[kMaxPixels];
  for (int64_t i = 0; i < count; i += kMaxPixels) {
    const int64_t left = count - i < kMaxPixels ? count - i : kMaxPixels;
    ListBconvPixels(args, i, left, pixels);
    if (left == kMaxPixels) {
      RunPixels<kPlanes, kMaxPixels>(args, pixels);
    } else {
      RunPixels<kPlanes, 1>(args, pixels);
    }
  }
}

}  // namespace

void BconvDirectAvx2(const BconvArgs& args) {
  if (args.planes == 2) {
    Run<2>(args);
  } else {
    Run<1>(args);
  }
}

}  // namespace bitmill
