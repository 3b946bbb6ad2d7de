// Weights into the layout of kernels/qconv/qconv.h; runs once, when a model is compiled.
#include <string.h>

#include "kernels/qconv/qconv_table.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepChannels = 4;
constexpr int64_t kUnitBytes = kLanes * kStepChannels;

struct Coding {
  int32_t bits;
  int32_t offset;  // added to a weight to make its code
};

Coding CodingOf(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return {1, 0};
    case QconvWeights::k2Bit:
      return {2, 2};
    case QconvWeights::k4Bit:
      return {4, 8};
    case QconvWeights::k8Bit:
      break;
  }
  return {8, 0};
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t UnitsOf(QconvWeights kind, int32_t channels, int32_t taps) {
  return CeilDiv(CeilDiv(channels, kStepChannels) * taps, 8 / CodingOf(kind).bits);
}

// First byte of a unit of a block.
int64_t UnitOf(int64_t block, int64_t unit, int64_t blocks, int64_t units) {
  const int64_t pair = block / 2;
  const int64_t width = pair * 2 + 1 < blocks ? 2 : 1;
  return (pair * 2 * units + unit * width + block % 2) * kUnitBytes;
}

uint8_t CodeOf(int8_t weight, QconvWeights kind, Coding coding) {
  if (kind == QconvWeights::k1Bit) return weight < 0 ? 1 : 0;
  return static_cast<uint8_t>((weight + coding.offset) & ((1 << coding.bits) - 1));
}

}  // namespace

int64_t PackedQconvBytes(QconvWeights kind, int32_t out_channels, int32_t channels, int32_t taps) {
  return CeilDiv(out_channels, kLanes) * UnitsOf(kind, channels, taps) * kUnitBytes;
}

void PackQconvWeights(const int8_t* weights, QconvWeights kind, int32_t out_channels,
                      int32_t channels, int32_t taps, uint8_t* packed) {
  const Coding coding = CodingOf(kind);
  const int64_t steps_per_unit = 8 / coding.bits;
  const int64_t steps_per_tap = CeilDiv(channels, kStepChannels);
  const int64_t units = UnitsOf(kind, channels, taps);
  const int64_t blocks = CeilDiv(out_channels, kLanes);
  memset(packed, 0, static_cast<size_t>(PackedQconvBytes(kind, out_channels, channels, taps)));
  for (int64_t o = 0; o < out_channels; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t t = 0; t < taps; ++t) {
        const uint8_t code = CodeOf(weights[(o * channels + c) * taps + t], kind, coding);
        const int64_t step = t * steps_per_tap + c / kStepChannels;
        uint8_t* unit = packed + UnitOf(o / kLanes, step / steps_per_unit, blocks, units);
        uint8_t* byte = unit + o % kLanes * kStepChannels + c % kStepChannels;
        *byte = static_cast<uint8_t>(*byte | code << (step % steps_per_unit * coding.bits));
      }
    }
  }
}

}  // namespace bitmill
