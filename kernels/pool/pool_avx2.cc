// Memory-bound: the window of a pixel is combined 32 bytes at a time, then 16, 8 and single bytes,
// so no byte outside a pixel is touched. And and or (minimum and maximum for codes) are both kept
// only when some channel takes the minimum.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/pool/pool.h"

namespace bitmill {

void PoolBitsAvx2(const PoolArgs& args);
void PoolCodesAvx2(const PoolArgs& args);

namespace {

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
  static __m256i Max(__m256i a, __m256i b) { return _mm256_and_si256(a, b); }
  static __m256i Min(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
  static __m128i Max(__m128i a, __m128i b) { return _mm_and_si128(a, b); }
  static __m128i Min(__m128i a, __m128i b) { return _mm_or_si128(a, b); }
  static uint8_t Max(uint8_t a, uint8_t b) { return static_cast<uint8_t>(a & b); }
  static uint8_t Min(uint8_t a, uint8_t b) { return static_cast<uint8_t>(a | b); }
};

struct Codes {
  static __m256i Max(__m256i a, __m256i b) { return _mm256_max_epu8(a, b); }
  static __m256i Min(__m256i a, __m256i b) { return _mm256_min_epu8(a, b); }
  static __m128i Max(__m128i a, __m128i b) { return _mm_max_epu8(a, b); }
  static __m128i Min(__m128i a, __m128i b) { return _mm_min_epu8(a, b); }
  static uint8_t Max(uint8_t a, uint8_t b) { return a > b ? a : b; }
  static uint8_t Min(uint8_t a, uint8_t b) { return a < b ? a : b; }
};

// Loads, stores and selection for each width.
struct Wide {
  using Type = __m256i;
  static Type Load(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void Store(uint8_t* p, Type v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Type Select(Type mask, Type set, Type clear) {
    return _mm256_or_si256(_mm256_and_si256(mask, set), _mm256_andnot_si256(mask, clear));
  }
};

struct Half {
  using Type = __m128i;
  static Type Load(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static void Store(uint8_t* p, Type v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
  static Type Select(Type mask, Type set, Type clear) {
    return _mm_or_si128(_mm_and_si128(mask, set), _mm_andnot_si128(mask, clear));
  }
};

struct Quarter {
  using Type = __m128i;
  static Type Load(const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static void Store(uint8_t* p, Type v) { _mm_storel_epi64(reinterpret_cast<__m128i*>(p), v); }
  static Type Select(Type mask, Type set, Type clear) { return Half::Select(mask, set, clear); }
};

struct Single {
  using Type = uint8_t;
  static Type Load(const uint8_t* p) { return *p; }
  static void Store(uint8_t* p, Type v) { *p = v; }
  static Type Select(Type mask, Type set, Type clear) {
    return static_cast<uint8_t>((mask & set) | (~mask & clear));
  }
};

template <typename Kind, typename Width>
inline void PoolChunk(const PoolArgs& args, const Window& window, int64_t byte, uint8_t* out) {
  using Type = typename Width::Type;
  Type high = Width::Load(window.first + byte);
  Type low = high;
  for (int64_t y = 0; y < window.rows; ++y) {
    const uint8_t* row = window.first + y * window.row_step + byte;
    for (int64_t x = 0; x < window.columns; ++x) {
      const Type value = Width::Load(row + x * window.column_step);
      high = Kind::Max(high, value);
      if (args.minimum != nullptr) low = Kind::Min(low, value);
    }
  }
  if (args.minimum != nullptr) high = Width::Select(Width::Load(args.minimum + byte), low, high);
  Width::Store(out + byte, high);
}

template <typename Kind>
void PoolPixel(const PoolArgs& args, const Window& window, uint8_t* out) {
  const int64_t bytes = args.pixel_bytes;
  int64_t b = 0;
  for (; b + 32 <= bytes; b += 32) PoolChunk<Kind, Wide>(args, window, b, out);
  for (; b + 16 <= bytes; b += 16) PoolChunk<Kind, Half>(args, window, b, out);
  for (; b + 8 <= bytes; b += 8) PoolChunk<Kind, Quarter>(args, window, b, out);
  for (; b < bytes; ++b) PoolChunk<Kind, Single>(args, window, b, out);
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

void PoolBitsAvx2(const PoolArgs& args) { Pool<Bits>(args); }
void PoolCodesAvx2(const PoolArgs& args) { Pool<Codes>(args); }

}  // namespace bitmill
