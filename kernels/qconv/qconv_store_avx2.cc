// The end of a tile: base or the sums of earlier sections added, scale and bias, masked at the last
// channel. Between sections the sums lie, as int32, in the place of the outputs.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;

inline __m256i Load(const int32_t* values) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
}

inline __m256i LaneMask(int64_t lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(lanes)), index);
}

// One block of all pixels.
template <bool kFull, bool kFirst, bool kAsFloat>
void StoreBlock(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                int64_t channel, const int32_t* sums, int64_t sums_pixel) {
  int32_t* const outputs =
      (args.out_int32 != nullptr ? args.out_int32 : reinterpret_cast<int32_t*>(args.out_float)) +
      channel;
  const __m256i mask = LaneMask(args.out_channels - channel);
  __m256i before = Load(args.base + channel);
  __m256 scale = _mm256_setzero_ps(), bias = scale;
  if constexpr (kAsFloat) {
    scale = _mm256_loadu_ps(args.scale + channel);
    bias = _mm256_loadu_ps(args.bias + channel);
  }
  for (int64_t p = 0; p < pixel_count; ++p, sums += sums_pixel) {
    int32_t* const out = outputs + pixels[p].out;
    if constexpr (!kFirst) before = kFull ? Load(out) : _mm256_maskload_epi32(out, mask);
    __m256i value = _mm256_add_epi32(Load(sums), before);
    if constexpr (kAsFloat) {
      const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(value), scale);
      value = _mm256_castps_si256(_mm256_add_ps(scaled, bias));
    }
    if constexpr (kFull) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), value);
    } else {
      _mm256_maskstore_epi32(out, mask, value);
    }
  }
}

using StoreFn = void (*)(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                         int64_t channel, const int32_t* sums, int64_t sums_pixel);

// [full][first][as float]
constexpr StoreFn kStores[2][2][2] = {
    {{StoreBlock<false, false, false>, StoreBlock<false, false, true>},
     {StoreBlock<false, true, false>, StoreBlock<false, true, true>}},
    {{StoreBlock<true, false, false>, StoreBlock<true, false, true>},
     {StoreBlock<true, true, false>, StoreBlock<true, true, true>}}};

}  // namespace

void StoreQconvTileAvx2(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                        int64_t channel, int64_t blocks, const int32_t* sums,
                        const QconvSection& section) {
  const bool as_float = args.out_int32 == nullptr && section.last;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = channel + b * kLanes;
    const bool full = args.out_channels - first >= kLanes;
    kStores[full][section.first][as_float](args, pixels, pixel_count, first, sums + b * kLanes,
                                           blocks * kLanes);
  }
}

}  // namespace bitmill
