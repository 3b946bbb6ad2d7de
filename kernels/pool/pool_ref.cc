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

uint8_t PoolByte(const PoolArgs& args, const uint8_t* image, int32_t y, int32_t x, int32_t byte,
                 Combine combine) {
  const uint8_t minimum = args.minimum != nullptr ? args.minimum[byte] : 0;
  bool first = true;
  uint8_t result = 0;
  for (int32_t ky = 0; ky < args.kernel_h; ++ky) {
    const int64_t iy = int64_t{y} * args.stride_h + ky * args.dilation_h - args.pad_top;
    if (iy < 0 || iy >= args.in_h) continue;
    for (int32_t kx = 0; kx < args.kernel_w; ++kx) {
      const int64_t ix = int64_t{x} * args.stride_w + kx * args.dilation_w - args.pad_left;
      if (ix < 0 || ix >= args.in_w) continue;
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
