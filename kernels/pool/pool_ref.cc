// The oracle of every other implementation: plain loops in the order of the formulas.
#include "kernels/pool/pool.h"

namespace bitmill {

void PoolBitsRef(const PoolArgs& args);
void PoolCodesRef(const PoolArgs& args);

namespace {

// Combine(previous, next, mask of the byte).
using Combine = uint8_t (*)(uint8_t a, uint8_t b, uint8_t minimum);

uint8_t CombineBits(uint8_t a, uint8_t b, uint8_t minimum) {
  return static_cast<uint8_t>((a & b & ~minimum) | ((a | b) & minimum));
}

uint8_t CombineCodes(uint8_t a, uint8_t b, uint8_t minimum) {
  if (minimum != 0) return a < b ? a : b;
  return a > b ? a : b;
}

// Taps first .. end - 1 of an axis lie in the image.
struct TapsOf {
  TapsOf(int64_t origin_of, int64_t taps, int64_t dilation, int64_t size) : origin(origin_of) {
    first = origin < 0 ? (-origin + dilation - 1) / dilation : 0;
    end = origin < size ? (size - origin + dilation - 1) / dilation : 0;
    if (end > taps) end = taps;
  }
  int64_t origin, first, end;
};

uint8_t PoolByte(const PoolArgs& args, const uint8_t* image, int32_t y, int32_t x, int32_t byte,
                 Combine combine) {
  const uint8_t minimum = args.minimum != nullptr ? args.minimum[byte] : 0;
  bool first = true;
  uint8_t result = 0;
  const TapsOf rows(int64_t{y} * args.stride_h - args.pad_top, args.kernel_h, args.dilation_h,
                    args.in_h);
  const TapsOf columns(int64_t{x} * args.stride_w - args.pad_left, args.kernel_w, args.dilation_w,
                       args.in_w);
  for (int64_t ky = rows.first; ky < rows.end; ++ky) {
    const int64_t iy = rows.origin + ky * args.dilation_h;
    for (int64_t kx = columns.first; kx < columns.end; ++kx) {
      const int64_t ix = columns.origin + kx * args.dilation_w;
      const uint8_t value = image[iy * args.in_row + ix * args.in_pixel + byte];
      result = first ? value : combine(result, value, minimum);
      first = false;
    }
  }
  return result;
}

void Pool(const PoolArgs& args, Combine combine) {
  for (int32_t n = 0; n < args.batch; ++n) {
    for (int32_t y = 0; y < args.out_h; ++y) {
      for (int32_t x = 0; x < args.out_w; ++x) {
        uint8_t* out = args.output + n * args.out_image + y * args.out_row + x * args.out_pixel;
        for (int32_t b = 0; b < args.pixel_bytes; ++b) {
          out[b] = PoolByte(args, args.input + n * args.in_image, y, x, b, combine);
        }
      }
    }
  }
}

}  // namespace

void PoolBitsRef(const PoolArgs& args) { Pool(args, CombineBits); }
void PoolCodesRef(const PoolArgs& args) { Pool(args, CombineCodes); }

}  // namespace bitmill
