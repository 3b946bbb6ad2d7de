// The oracle of every other implementation: plain loops in the order of the formula.
#include "kernels/qconv/qconv.h"

namespace bitmill {

void QconvRef(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepChannels = 4;
constexpr int64_t kUnitBytes = kLanes * kStepChannels;

int32_t WeightBits(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return 1;
    case QconvWeights::k2Bit:
      return 2;
    case QconvWeights::k4Bit:
      return 4;
    case QconvWeights::k8Bit:
      break;
  }
  return 8;
}

// Weight of channel j of a step, for one lane.
int32_t Weight(const QconvArgs& args, int64_t block, int64_t step, int64_t lane, int64_t j) {
  const int32_t bits = WeightBits(args.kind);
  const int64_t steps_per_unit = 8 / bits;
  const int64_t units = (args.steps + steps_per_unit - 1) / steps_per_unit;
  const int64_t pair = block / 2;
  const int64_t width = (pair * 2 + 1) * kLanes < args.out_channels ? 2 : 1;
  const int64_t unit = pair * 2 * units + step / steps_per_unit * width + block % 2;
  const uint8_t byte = args.weights[unit * kUnitBytes + lane * kStepChannels + j];
  const int32_t code = byte >> (step % steps_per_unit * bits) & ((1 << bits) - 1);
  switch (args.kind) {
    case QconvWeights::k1Bit:
      return code == 0 ? 1 : -1;
    case QconvWeights::k2Bit:
      return code - 2;
    case QconvWeights::k4Bit:
      return code - 8;
    case QconvWeights::k8Bit:
      break;
  }
  return static_cast<int8_t>(byte);
}

int32_t Accumulate(const QconvArgs& args, const uint8_t* window, int32_t channel) {
  int32_t acc = args.base[channel];
  for (int32_t s = 0; s < args.steps; ++s) {
    const uint8_t* a = window + args.step_bytes[s];
    for (int64_t j = 0; j < kStepChannels; ++j) {
      acc += Weight(args, channel / kLanes, s, channel % kLanes, j) * a[j];
    }
  }
  return acc;
}

}  // namespace

void QconvRef(const QconvArgs& args) {
  for (int32_t n = 0; n < args.batch; ++n) {
    for (int32_t y = 0; y < args.out_h; ++y) {
      for (int32_t x = 0; x < args.out_w; ++x) {
        const uint8_t* window = args.input + n * args.image_bytes +
                                int64_t{y} * args.stride_h * args.row_bytes +
                                int64_t{x} * args.stride_w * args.pixel_bytes;
        const int64_t out = n * args.out_image + y * args.out_row + x * args.out_pixel;
        for (int32_t o = 0; o < args.out_channels; ++o) {
          const int32_t acc = Accumulate(args, window, o);
          if (args.out_int32 != nullptr) {
            args.out_int32[out + o] = acc;
          } else {
            const float scaled = static_cast<float>(acc) * args.scale[o];
            args.out_float[out + o] = scaled + args.bias[o];
          }
        }
      }
    }
  }
}

}  // namespace bitmill
