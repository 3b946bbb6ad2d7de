// Memory-bound: the window of a pixel is combined 64 bytes at a time, the last under a mask, so no
// byte outside a pixel is touched.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/pool/pool.h"

namespace bitmill {

void PoolBitsAvx512(const PoolArgs& args);
void PoolCodesAvx512(const PoolArgs& args);

namespace {

constexpr int64_t kVectorBytes = 64;
constexpr int kSelect = 0xca;  // first ? second : third, bit by bit

// The window of one output pixel, clipped to the image: never empty.
struct Window {
  const uint8_t* first;
  int64_t rows, columns;
  int64_t row_step, column_step;  // bytes
};

struct Range {
  int64_t first, count;
};

// Taps k with 0 <= origin + k * dilation < size.
Range ClipTaps(int64_t origin, int64_t taps, int64_t dilation, int64_t size) {
  if (origin >= 0 && origin + (taps - 1) * dilation < size) return {0, taps};  // no division
  const int64_t first = origin < 0 ? (-origin + dilation - 1) / dilation : 0;
  const int64_t end = origin < size ? (size - origin + dilation - 1) / dilation : 0;
  return {first, (end < taps ? end : taps) - first};
}

struct Bits {
  static __m512i Max(__m512i a, __m512i b) { return _mm512_and_si512(a, b); }
  static __m512i Min(__m512i a, __m512i b) { return _mm512_or_si512(a, b); }
};

struct Codes {
  static __m512i Max(__m512i a, __m512i b) { return _mm512_max_epu8(a, b); }
  static __m512i Min(__m512i a, __m512i b) { return _mm512_min_epu8(a, b); }
};

template <typename Kind>
void PoolPixel(const PoolArgs& args, const Window& window, uint8_t* out) {
  for (int64_t b = 0; b < args.pixel_bytes; b += kVectorBytes) {
    const int64_t left = args.pixel_bytes - b;
    const __mmask64 mask = left >= kVectorBytes ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
    __m512i high = _mm512_maskz_loadu_epi8(mask, window.first + b);
    __m512i low = high;
    for (int64_t y = 0; y < window.rows; ++y) {
      const uint8_t* row = window.first + y * window.row_step + b;
      for (int64_t x = 0; x < window.columns; ++x) {
        const __m512i value = _mm512_maskz_loadu_epi8(mask, row + x * window.column_step);
        high = Kind::Max(high, value);
        if (args.minimum != nullptr) low = Kind::Min(low, value);
      }
    }
    if (args.minimum != nullptr) {
      const __m512i minimum = _mm512_maskz_loadu_epi8(mask, args.minimum + b);
      high = _mm512_ternarylogic_epi64(minimum, low, high, kSelect);
    }
    _mm512_mask_storeu_epi8(out + b, mask, high);
  }
}

template <typename Kind>
void Pool(const PoolArgs& args) {
  for (int32_t n = 0; n < args.batch; ++n) {
    for (int32_t y = 0; y < args.out_h; ++y) {
      const int64_t top = int64_t{y} * args.stride_h - args.pad_top;
      const Range rows = ClipTaps(top, args.kernel_h, args.dilation_h, args.in_h);
      for (int32_t x = 0; x < args.out_w; ++x) {
        const int64_t left = int64_t{x} * args.stride_w - args.pad_left;
        const Range columns = ClipTaps(left, args.kernel_w, args.dilation_w, args.in_w);
        Window window;
        window.first = args.input + n * args.in_image +
                       (top + rows.first * args.dilation_h) * args.in_row +
                       (left + columns.first * args.dilation_w) * args.in_pixel;
        window.rows = rows.count;
        window.columns = columns.count;
        window.row_step = args.dilation_h * args.in_row;
        window.column_step = int64_t{args.dilation_w} * args.in_pixel;
        PoolPixel<Kind>(args, window,
                        args.output + n * args.out_image + y * args.out_row + x * args.out_pixel);
      }
    }
  }
}

}  // namespace

void PoolBitsAvx512(const PoolArgs& args) { Pool<Bits>(args); }
void PoolCodesAvx512(const PoolArgs& args) { Pool<Codes>(args); }

}  // namespace bitmill
