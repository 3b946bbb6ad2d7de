// The oracle of every other implementation: plain loops in the order of the formula.
#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvRef(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepChannels = 4;

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

// Weight of a byte's code number i.
int32_t Weight(QconvWeights kind, uint8_t byte, int64_t i) {
  const int32_t bits = WeightBits(kind);
  const int32_t code = byte >> (i * bits) & ((1 << bits) - 1);
  switch (kind) {
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
  const QconvGroup group =
      QconvGroupOf(args, args.sparse != nullptr ? channel / args.sparse->group_channels : 0);
  const int64_t lane = channel - group.channel;
  const QconvBlock block = QconvBlockOf(group, lane / kLanes);
  const int64_t unit_steps = QconvUnitSteps(args.kind);
  auto acc = static_cast<uint32_t>(args.base[channel]);
  for (int64_t s = 0; s < group.steps; ++s) {
    const int64_t u = s / unit_steps;
    const int64_t i = s % unit_steps;
    const uint8_t* bytes = block.units + u * block.unit_stride + lane % kLanes * kStepChannels;
    const int64_t window_unit = args.sparse != nullptr ? group.units[u] : u;
    const uint8_t* a = window + args.step_bytes[window_unit * unit_steps + i];
    for (int64_t j = 0; j < kStepChannels; ++j) {
      acc += static_cast<uint32_t>(Weight(args.kind, bytes[j], i) * a[j]);
    }
  }
  return static_cast<int32_t>(acc);
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
