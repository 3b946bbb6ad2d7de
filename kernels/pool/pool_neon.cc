// Memory-bound: the window of a pixel is combined 16 bytes at a time, then 8 and single bytes, so
// no byte outside a pixel is touched.
#include <arm_neon.h>
#include <stdint.h>

#include "kernels/pool/pool.h"

namespace bitmill {

void PoolBitsNeon(const PoolArgs& args);
void PoolCodesNeon(const PoolArgs& args);

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
  static uint8x16_t Max(uint8x16_t a, uint8x16_t b) { return vandq_u8(a, b); }
  static uint8x16_t Min(uint8x16_t a, uint8x16_t b) { return vorrq_u8(a, b); }
  static uint8x8_t Max(uint8x8_t a, uint8x8_t b) { return vand_u8(a, b); }
  static uint8x8_t Min(uint8x8_t a, uint8x8_t b) { return vorr_u8(a, b); }
  static uint8_t Max(uint8_t a, uint8_t b) { return static_cast<uint8_t>(a & b); }
  static uint8_t Min(uint8_t a, uint8_t b) { return static_cast<uint8_t>(a | b); }
};

struct Codes {
  static uint8x16_t Max(uint8x16_t a, uint8x16_t b) { return vmaxq_u8(a, b); }
  static uint8x16_t Min(uint8x16_t a, uint8x16_t b) { return vminq_u8(a, b); }
  static uint8x8_t Max(uint8x8_t a, uint8x8_t b) { return vmax_u8(a, b); }
  static uint8x8_t Min(uint8x8_t a, uint8x8_t b) { return vmin_u8(a, b); }
  static uint8_t Max(uint8_t a, uint8_t b) { return a > b ? a : b; }
  static uint8_t Min(uint8_t a, uint8_t b) { return a < b ? a : b; }
};

// Loads, stores and selection for each width.
struct Wide {
  using Type = uint8x16_t;
  static Type Load(const uint8_t* p) { return vld1q_u8(p); }
  static void Store(uint8_t* p, Type v) { vst1q_u8(p, v); }
  static Type Select(Type mask, Type set, Type clear) { return vbslq_u8(mask, set, clear); }
};

struct Half {
  using Type = uint8x8_t;
  static Type Load(const uint8_t* p) { return vld1_u8(p); }
  static void Store(uint8_t* p, Type v) { vst1_u8(p, v); }
  static Type Select(Type mask, Type set, Type clear) { return vbsl_u8(mask, set, clear); }
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
  for (; b + 16 <= bytes; b += 16) PoolChunk<Kind, Wide>(args, window, b, out);
  for (; b + 8 <= bytes; b += 8) PoolChunk<Kind, Half>(args, window, b, out);
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

void PoolBitsNeon(const PoolArgs& args) { Pool<Bits>(args); }
void PoolCodesNeon(const PoolArgs& args) { Pool<Codes>(args); }

}  // namespace bitmill
