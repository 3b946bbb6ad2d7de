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

}  // namespace

void StoreQconvTileAvx2(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                        int64_t channel, int64_t blocks, const int32_t* sums) {
  for (int64_t p = 0; p < pixel_count; ++p) {
    for (int64_t b = 0; b < blocks; ++b, sums += kLanes) {
      const int64_t first = channel + b * kLanes;
      const int64_t left = args.out_channels - first;
      const __m256i acc = _mm256_add_epi32(Load(sums), Load(args.base + first));
      if (args.out_int32 != nullptr) {
        int32_t* out = args.out_int32 + pixels[p].out + first;
        if (left >= kLanes) {
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), acc);
        } else {
          _mm256_maskstore_epi32(out, LaneMask(left), acc);
        }
        continue;
      }
      const __m256 scaled =
          _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(args.scale + first));
      const __m256 value = _mm256_add_ps(scaled, _mm256_loadu_ps(args.bias + first));
      float* out = args.out_float + pixels[p].out + first;
      if (left >= kLanes) {
        _mm256_storeu_ps(out, value);
      } else {
        _mm256_maskstore_ps(out, LaneMask(left), value);
      }
    }
  }
}

}  // namespace bitmill
