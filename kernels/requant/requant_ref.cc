// The oracle of every other implementation: plain loops in the order of the formula.
#include <math.h>

#include "kernels/requant/requant.h"

namespace bitmill {

void RequantRef(const RequantArgs& args);

namespace {

uint8_t AffineCode(const RequantArgs& args, int32_t acc, int32_t channel) {
  const float scaled = static_cast<float>(acc) * args.scale[channel];
  const float value = scaled + args.bias[channel];
  const float top = static_cast<float>(args.levels - 1);
  const float from_zero = value > 0.0f ? value : 0.0f;  // not a number gives 0
  return static_cast<uint8_t>(nearbyintf(from_zero < top ? from_zero : top));
}

uint8_t ThresholdCode(const RequantArgs& args, int32_t acc, int32_t channel) {
  const int64_t padded_channels = (int64_t{args.channels} + 7) / 8 * 8;
  int32_t code = 0;
  for (int32_t i = 0; i < args.levels - 1; ++i) {
    if (args.thresholds[i * padded_channels + channel] <= acc) ++code;
  }
  return static_cast<uint8_t>(code);
}

}  // namespace

void RequantRef(const RequantArgs& args) {
  for (int32_t p = 0; p < args.pixels; ++p) {
    const int32_t* acc = args.acc + p * args.acc_pixel;
    for (int32_t c = 0; c < args.channels; ++c) {
      if (args.out_bits != nullptr) {
        uint8_t* byte = args.out_bits + p * args.out_pixel + c / 8;
        if (c % 8 == 0) *byte = 0;
        if (acc[c] < args.thresholds[c]) *byte = static_cast<uint8_t>(*byte | 1u << (c % 8));
      } else if (args.thresholds != nullptr) {
        args.out_codes[p * args.out_pixel + c] = ThresholdCode(args, acc[c], c);
      } else {
        args.out_codes[p * args.out_pixel + c] = AffineCode(args, acc[c], c);
      }
    }
  }
}

}  // namespace bitmill
