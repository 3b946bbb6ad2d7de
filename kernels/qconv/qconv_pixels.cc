#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kUnitBytes = 32;

struct Format {
  int32_t bits;
  int32_t low, high;  // of a weight
};

Format FormatOf(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return {1, -1, 1};
    case QconvWeights::k2Bit:
      return {2, -2, 1};
    case QconvWeights::k4Bit:
      return {4, -8, 7};
    case QconvWeights::k8Bit:
      break;
  }
  return {8, -128, 127};
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

int64_t QconvUnitSteps(QconvWeights kind) { return 8 / FormatOf(kind).bits; }

QconvBlock QconvBlockOf(const QconvArgs& args, int64_t block) {
  const int64_t steps_per_unit = QconvUnitSteps(args.kind);
  const int64_t block_bytes = (args.steps + steps_per_unit - 1) / steps_per_unit * kUnitBytes;
  const int64_t pair = block / 2;
  const bool alone = (pair * 2 + 1) * 8 >= args.out_channels;
  return {args.weights + pair * 2 * block_bytes + block % 2 * kUnitBytes,
          alone ? kUnitBytes : 2 * kUnitBytes};
}

QconvWordSums QconvWordSumsOf(const QconvArgs& args) {
  Format format = FormatOf(args.kind);
  if (args.ternary) format.low = -1;
  const int32_t code = args.levels > 1 ? args.levels - 1 : 1;
  const int32_t low = 2 * code * format.low;  // of a step
  const int32_t high = 2 * code * format.high;
  if (low < INT16_MIN || high > INT16_MAX) return {0, 0};
  const int32_t steps = UINT16_MAX / (high - low);
  return {steps, INT16_MIN - steps * low};
}

}  // namespace bitmill
