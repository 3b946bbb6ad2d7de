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
  const int64_t step = int64_t{args.stride_w} * args.pixel_bytes;
  while (count > 0) {
    const int64_t run = count < args.out_w - x ? count : args.out_w - x;  // of the line
    const uint8_t* window =
        args.input + n * args.image_bytes + y * args.stride_h * args.row_bytes + x * step;
    int64_t out = n * args.out_image + y * args.out_row + x * args.out_pixel;
    for (int64_t i = 0; i < run; ++i, window += step, out += args.out_pixel) {
      pixels[i] = {window, out};
    }
    pixels += run;
    count -= run;
    x = 0;
    if (++y < args.out_h) continue;
    y = 0;
    ++n;
  }
}

int64_t QconvUnitSteps(QconvWeights kind) { return 8 / FormatOf(kind).bits; }

QconvBlock QconvBlockOf(const QconvArgs& args, int64_t block) {
  return QconvBlockOf(QconvGroupOf(args, 0), block);
}

int64_t QconvGroupCount(const QconvArgs& args) {
  if (args.sparse == nullptr) return 1;
  return (int64_t{args.out_channels} + args.sparse->group_channels - 1) /
         args.sparse->group_channels;
}

QconvGroup QconvGroupOf(const QconvArgs& args, int64_t group) {
  const int64_t unit_steps = QconvUnitSteps(args.kind);
  const int64_t window_units = (args.steps + unit_steps - 1) / unit_steps;
  QconvGroup g = {};
  if (args.sparse == nullptr) {
    g.channels = args.out_channels;
    g.unit_count = window_units;
    g.steps = args.steps;
    g.weights = args.weights;
    return g;
  }
  const QconvSparse& sparse = *args.sparse;
  const int64_t first = sparse.first_unit[group];
  g.channel = group * sparse.group_channels;
  g.channels = args.out_channels - g.channel;
  if (g.channels > sparse.group_channels) g.channels = sparse.group_channels;
  g.units = sparse.units + first;
  g.unit_count = sparse.first_unit[group + 1] - first;
  g.steps = g.unit_count * unit_steps;
  if (g.unit_count > 0 && g.units[g.unit_count - 1] == window_units - 1) {
    g.steps -= window_units * unit_steps - args.steps;
  }
  // All groups before it are full.
  g.weights = args.weights + first * (sparse.group_channels / 8) * kUnitBytes;
  return g;
}

QconvBlock QconvBlockOf(const QconvGroup& group, int64_t block) {
  const int64_t pair = block / 2;
  const bool alone = (pair * 2 + 1) * 8 >= group.channels;
  return {group.weights + pair * 2 * group.unit_count * kUnitBytes + block % 2 * kUnitBytes,
          alone ? kUnitBytes : 2 * kUnitBytes};
}

const int32_t* QconvStepsOf(const QconvArgs& args, const QconvGroup& group, int64_t first,
                            int64_t count, int32_t* scratch) {
  if (args.sparse == nullptr) return args.step_bytes + first;
  const int64_t unit_steps = QconvUnitSteps(args.kind);
  const int32_t* unit = group.units + first / unit_steps;
  for (int64_t s = 0; s < count; s += unit_steps, ++unit) {
    const int64_t window_step = *unit * unit_steps;
    for (int64_t i = 0; i < unit_steps && s + i < count; ++i) {
      scratch[s + i] = args.step_bytes[window_step + i];
    }
  }
  return scratch;
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
