#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

struct Format {
  int32_t bits;
  int32_t largest;  // absolute value of a weight
};

Format FormatOf(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return {1, 1};
    case QconvWeights::k2Bit:
      return {2, 2};
    case QconvWeights::k4Bit:
      return {4, 8};
    case QconvWeights::k8Bit:
      break;
  }
  return {8, 128};
}

}  // namespace

void ListQconvPixels(const QconvArgs& args, int64_t first, int64_t count, QconvPixel* pixels) {
  int64_t x = first % args.out_w;
  int64_t y = first / args.out_w % args.out_h;
  int64_t n = first / args.out_w / args.out_h;
  for (int64_t i = 0; i < count; ++i) {
    pixels[i].window = args.input + n * args.image_bytes + y * args.stride_h * args.row_bytes +
                       x * args.stride_w * args.pixel_bytes;
    pixels[i].out = n * args.out_image + y * args.out_row + x * args.out_pixel;
    if (++x < args.out_w) continue;
    x = 0;
    if (++y < args.out_h) continue;
    y = 0;
    ++n;
  }
}

int64_t QconvBlockBytes(QconvWeights kind, int32_t steps) {
  const int64_t steps_per_unit = 8 / FormatOf(kind).bits;
  return (steps + steps_per_unit - 1) / steps_per_unit * 32;
}

int32_t QconvProductsInInt16(QconvWeights kind, int32_t levels) {
  const int32_t largest = (levels > 1 ? levels - 1 : 1) * FormatOf(kind).largest;
  const int32_t products = INT16_MAX / largest;
  return products >= 2 ? products : 0;
}

}  // namespace bitmill
