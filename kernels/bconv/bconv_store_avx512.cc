// Outputs of a tile. Two blocks of eight 64-bit counts become sixteen 32-bit ones by one two-source
// permutation; a comparison with 16 limits in memory gives 16 finished bits: 4 operations for 16
// outputs of a pixel.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;

inline __m512i LoadCounts(const uint64_t* counts) { return _mm512_loadu_si512(counts); }

inline __m256i LoadInts(const int32_t* values) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
}

inline __m256i LaneMask(int64_t lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(lanes)), index);
}

// Numbers of one block.
inline void StoreNumbers(const BconvArgs& args, const BconvPixel& pixel, int64_t channel,
                         __m256i x) {
  const int64_t left = args.out_channels - channel;
  const __m256i base = LoadInts(args.base + pixel.table_row + channel);
  const __m256i acc = _mm256_sub_epi32(base, _mm256_add_epi32(x, x));
  if (args.out_int32 != nullptr) {
    int32_t* out = args.out_int32 + pixel.out + channel;
    if (left >= kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), acc);
    } else {
      _mm256_maskstore_epi32(out, LaneMask(left), acc);
    }
    return;
  }
  const __m256 scaled =
      _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(args.scale + channel));
  const __m256 value = _mm256_add_ps(scaled, _mm256_loadu_ps(args.bias + channel));
  float* out = args.out_float + pixel.out + channel;
  if (left >= kLanes) {
    _mm256_storeu_ps(out, value);
  } else {
    _mm256_maskstore_ps(out, LaneMask(left), value);
  }
}

// The low halves of two blocks of counts.
inline __m512i Join(__m512i first, __m512i second) {
  const __m512i low_halves =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_permutex2var_epi32(first, low_halves, second);
}

void StoreBitPairs(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
                   int64_t channel, const uint64_t* counts) {
  const int64_t left = args.out_channels - channel;
  const uint32_t keep = left >= 2 * kLanes ? 0xffff : (uint32_t{1} << left) - 1;
  for (int64_t p = 0; p < pixel_count; ++p) {
    const __m512i x =
        Join(LoadCounts(counts + p * kLanes), LoadCounts(counts + (pixel_count + p) * kLanes));
    const __m512i limits = _mm512_loadu_si512(args.limits + pixels[p].table_row + channel);
    const uint32_t bits = _mm512_cmpgt_epi32_mask(x, limits) & keep;
    const uint16_t bytes = static_cast<uint16_t>(bits);
    memcpy(args.out_bits + pixels[p].out + channel / 8, &bytes, sizeof(bytes));
  }
}

}  // namespace

void StoreBconvTileAvx512(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
                          int64_t channel, int64_t blocks, const uint64_t* counts) {
  if (args.out_bits != nullptr && blocks == 2) {
    StoreBitPairs(args, pixels, pixel_count, channel, counts);
    return;
  }
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t p = 0; p < pixel_count; ++p) {
      const int64_t first = channel + b * kLanes;
      const __m256i x = _mm512_cvtepi64_epi32(LoadCounts(counts + (b * pixel_count + p) * kLanes));
      if (args.out_bits == nullptr) {
        StoreNumbers(args, pixels[p], first, x);
        continue;
      }
      const int64_t left = args.out_channels - first;
      const int keep = left >= kLanes ? 0xff : (1 << left) - 1;
      const __m256i limits = LoadInts(args.limits + pixels[p].table_row + first);
      const int bits = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(x, limits)));
      args.out_bits[pixels[p].out + first / 8] = static_cast<uint8_t>(bits & keep);
    }
  }
}

}  // namespace bitmill
