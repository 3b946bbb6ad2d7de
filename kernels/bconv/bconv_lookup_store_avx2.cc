// Outputs of the lookup. Its sums are 16 bits wide and start at -2^15, so that comparisons with a
// sign put them in order: a vector of 32 channels takes two, one packing and one movemask.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

constexpr int kLanes = 8;
constexpr int kVectorBlocks = 4;
constexpr int kVectorChannels = 32;
constexpr int kHalfSums = 16;  // of a vector: even or odd blocks

inline __m256i Load(const void* data) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(data));
}

inline void Store(void* data, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(data), value);
}

inline __m256i SignBits() { return _mm256_set1_epi16(INT16_MIN); }

// Limits plus one without a sign, at most 2^16 - 1; sums do not reach that.
inline __m256i LoadLimit(const int32_t* limits, bool present) {
  if (!present) return _mm256_set1_epi32(0xffff);
  const __m256i limit = _mm256_min_epi32(Load(limits), _mm256_set1_epi32(0xfffe));
  return _mm256_add_epi32(limit, _mm256_set1_epi32(1));
}

// The limits of a class in the order and with the bias of the sums.
void LoadLimits(const BconvArgs& args, const BconvPixel& pixel, int64_t first_block, int64_t blocks,
                BconvLookupLimits* limits) {
  limits->table_row = pixel.table_row;
  const int32_t* row = args.limits + pixel.table_row + first_block * kLanes;
  for (int64_t first = 0; first < blocks; first += kVectorBlocks) {
    __m256i block[kVectorBlocks];
    for (int64_t b = 0; b < kVectorBlocks; ++b) {
      const bool present = first + b < blocks;
      block[b] = LoadLimit(present ? row + (first + b) * kLanes : row, present);
    }
    // packus works in halves of 4 numbers; the permutation puts them in order.
    const __m256i even = _mm256_permute4x64_epi64(_mm256_packus_epi32(block[0], block[2]), 0xd8);
    const __m256i odd = _mm256_permute4x64_epi64(_mm256_packus_epi32(block[1], block[3]), 0xd8);
    int16_t* out = limits->limits + first * kLanes;
    Store(out, _mm256_xor_si256(even, SignBits()));
    Store(out + kHalfSums, _mm256_xor_si256(odd, SignBits()));
  }
}

void StoreBits(const BconvArgs& args, const BconvPixel& pixel, int64_t first_block, int64_t blocks,
               const int16_t* sums, BconvLookupLimits* limits) {
  if (limits->table_row != pixel.table_row) LoadLimits(args, pixel, first_block, blocks, limits);
  const int64_t first = first_block * kLanes;
  uint8_t* out = args.out_bits + pixel.out + first_block;
  for (int64_t c = 0; c < blocks * kLanes; c += kVectorChannels) {
    const int16_t* limit = limits->limits + c;
    const __m256i even = _mm256_cmpgt_epi16(Load(limit), Load(sums + c));
    const __m256i odd = _mm256_cmpgt_epi16(Load(limit + kHalfSums), Load(sums + c + kHalfSums));
    const __m256i clear = _mm256_packs_epi16(even, odd);
    uint32_t bits = ~static_cast<uint32_t>(_mm256_movemask_epi8(clear));
    const int64_t left = args.out_channels - first - c;
    if (left >= kVectorChannels) {
      memcpy(out + c / 8, &bits, sizeof(bits));
      continue;
    }
    bits &= (uint32_t{1} << left) - 1;
    for (int64_t byte = 0; byte * 8 < left; ++byte) {
      out[c / 8 + byte] = static_cast<uint8_t>(bits >> (8 * byte));
    }
  }
}

inline __m256i LaneMask(int64_t lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(lanes)), index);
}

// acc = base - 2 * (sum + 2^15) of 8 channels.
inline __m256i Accumulate(const int16_t* sums, const int32_t* base) {
  const __m256i sum =
      _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sums)));
  const __m256i biased = _mm256_sub_epi32(Load(base), _mm256_add_epi32(sum, sum));
  return _mm256_sub_epi32(biased, _mm256_set1_epi32(2 * -INT16_MIN));
}

inline __m256 Scale(__m256i acc, const float* scale, const float* bias) {
  const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(scale));
  return _mm256_add_ps(scaled, _mm256_loadu_ps(bias));
}

// Where the sums of block `b` of four are.
constexpr int64_t PlaceOfBlock(int64_t b) { return b % 2 * kHalfSums + b / 2 * kLanes; }

// A vector of 32 channels.
inline void StoreVector(const int16_t* sums, const int32_t* base, int32_t* out) {
  for (int64_t b = 0; b < kVectorBlocks; ++b) {
    Store(out + b * kLanes, Accumulate(sums + PlaceOfBlock(b), base + b * kLanes));
  }
}

inline void StoreVector(const int16_t* sums, const int32_t* base, const float* scale,
                        const float* bias, float* out) {
  for (int64_t b = 0; b < kVectorBlocks; ++b) {
    const int64_t c = b * kLanes;
    const __m256i acc = Accumulate(sums + PlaceOfBlock(b), base + c);
    _mm256_storeu_ps(out + c, Scale(acc, scale + c, bias + c));
  }
}

void StoreNumbers(const BconvArgs& args, const BconvPixel& pixel, int64_t first_block,
                  int64_t blocks, const int16_t* sums) {
  const int64_t first = first_block * kLanes;
  int64_t count = blocks * kLanes;
  if (args.out_channels - first < count) count = args.out_channels - first;
  const int32_t* base = args.base + pixel.table_row + first;
  int64_t c = 0;
  if (args.out_int32 != nullptr) {
    int32_t* out = args.out_int32 + pixel.out + first;
    for (; c + kVectorChannels <= count; c += kVectorChannels) {
      StoreVector(sums + c, base + c, out + c);
    }
    for (int64_t b = 0; c + b * kLanes < count; ++b) {
      const int64_t at = c + b * kLanes;
      const __m256i acc = Accumulate(sums + c + PlaceOfBlock(b), base + at);
      _mm256_maskstore_epi32(out + at, LaneMask(count - at), acc);
    }
    return;
  }
  const float* scale = args.scale + first;
  const float* bias = args.bias + first;
  float* out = args.out_float + pixel.out + first;
  for (; c + kVectorChannels <= count; c += kVectorChannels) {
    StoreVector(sums + c, base + c, scale + c, bias + c, out + c);
  }
  for (int64_t b = 0; c + b * kLanes < count; ++b) {
    const int64_t at = c + b * kLanes;
    const __m256i acc = Accumulate(sums + c + PlaceOfBlock(b), base + at);
    _mm256_maskstore_ps(out + at, LaneMask(count - at), Scale(acc, scale + at, bias + at));
  }
}

}  // namespace

void StoreBconvLookupAvx2(const BconvArgs& args, const BconvPixel& pixel, int64_t first_block,
                          int64_t blocks, const int16_t* sums, BconvLookupLimits* limits) {
  if (args.out_bits != nullptr) {
    StoreBits(args, pixel, first_block, blocks, sums, limits);
  } else {
    StoreNumbers(args, pixel, first_block, blocks, sums);
  }
}

}  // namespace bitmill
