#include "kernels/qconv/qconv_2of4.h"

#include <string.h>

#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kBlockLanes = 8;
constexpr int64_t kPairLanes = 16;
constexpr int64_t kStepWeights = 4;
constexpr int64_t kVectorBytes = 64;
constexpr int64_t kMostPairs = 3;

// The weights of dense `args`, one by one.
class DenseWeights {
 public:
  explicit DenseWeights(const QconvArgs& args)
      : args_(args), unit_steps_(QconvUnitSteps(args.kind)), bits_(8 / unit_steps_) {}

  int32_t At(int64_t channel, int64_t step, int64_t place) const {
    const QconvBlock block = QconvBlockOf(args_, channel / kBlockLanes);
    const uint8_t byte = block.units[step / unit_steps_ * block.unit_stride +
                                     channel % kBlockLanes * kStepWeights + place];
    if (bits_ == 8) return static_cast<int8_t>(byte);
    const int32_t code = byte >> (step % unit_steps_ * bits_) & ((1 << bits_) - 1);
    return code - (1 << (bits_ - 1));
  }

 private:
  const QconvArgs& args_;
  const int64_t unit_steps_, bits_;
};

// A lane of a unit: four bytes, of some steps each. The lowest bit of each code says whether the
// weight is not zero.
uint32_t UsedCodes(QconvWeights kind, const uint8_t* lane) {
  uint32_t codes;
  memcpy(&codes, lane, sizeof(codes));
  switch (kind) {
    case QconvWeights::k2Bit:
      codes ^= 0xaaaaaaaa;
      return codes | codes >> 1;
    case QconvWeights::k4Bit:
      codes ^= 0x88888888;
      codes |= codes >> 2;
      return codes | codes >> 1;
    default:
      codes |= codes >> 4;
      codes |= codes >> 2;
      return codes | codes >> 1;
  }
}

int64_t DoubleSteps(const QconvArgs& args) { return (int64_t{args.steps} + 1) / 2; }

// The weights of one channel: its lane of the vectors of each double step, `stride` bytes apart.
void PrepareChannel(const QconvArgs& args, int64_t channel, int64_t stride, uint8_t* lane) {
  const DenseWeights weights(args);
  for (int64_t d = 0; d < DoubleSteps(args); ++d, lane += stride) {
    int64_t used = 0;
    for (int64_t i = 0; i < 2 * kStepWeights; ++i) {
      const int64_t step = 2 * d + i / kStepWeights;
      if (step >= args.steps) break;
      const int32_t weight = weights.At(channel, step, i % kStepWeights);
      if (weight == 0) continue;
      lane[used] = static_cast<uint8_t>(i);
      lane[kVectorBytes + used] = static_cast<uint8_t>(weight);
      ++used;
    }
  }
}

// Where a product takes the two ports that another one could use, but a shuffle has one of its own.
bool ShufflesBesideProducts() {
#if defined(BITMILL_X86)
  return __builtin_cpu_is("amd") != 0;
#else
  return false;
#endif
}

}  // namespace

bool QconvIs2of4(const QconvArgs& args) {
  if (args.kind == QconvWeights::k1Bit || args.sparse != nullptr) return false;
  const int64_t unit_steps = QconvUnitSteps(args.kind);
  for (int64_t channel = 0; channel < args.out_channels; ++channel) {
    const QconvBlock block = QconvBlockOf(args, channel / kBlockLanes);
    const uint8_t* lane = block.units + channel % kBlockLanes * kStepWeights;
    for (int64_t step = 0; step < args.steps; step += unit_steps, lane += block.unit_stride) {
      uint32_t used = UsedCodes(args.kind, lane);
      const int64_t here = args.steps - step < unit_steps ? args.steps - step : unit_steps;
      for (int64_t i = 0; i < here; ++i, used >>= 8 / unit_steps) {
        if (__builtin_popcount(used & 0x01010101) > 2) return false;
      }
    }
  }
  return true;
}

int64_t Qconv2of4Pairs(int64_t left) {
  if (left == 4) return 2;  // rather than three and one
  return left < kMostPairs ? left : kMostPairs;
}

int64_t Qconv2of4Bytes(const QconvArgs& args) {
  const int64_t pairs = (int64_t{args.out_channels} + kPairLanes - 1) / kPairLanes;
  return pairs * DoubleSteps(args) * 2 * kVectorBytes;
}

int64_t Qconv2of4BytesAvx512Vpopcnt(const QconvArgs& args) {
  if (!ShufflesBesideProducts() || QconvTakesTables(args) || !QconvIs2of4(args)) return 0;
  return Qconv2of4Bytes(args);
}

void PrepareQconv2of4(const QconvArgs& args, uint8_t* prepared) {
  memset(prepared, 0, static_cast<size_t>(Qconv2of4Bytes(args)));
  const int64_t pairs = (int64_t{args.out_channels} + kPairLanes - 1) / kPairLanes;
  for (int64_t first = 0; first < pairs;) {
    const int64_t count = Qconv2of4Pairs(pairs - first);
    const int64_t stride = count * 2 * kVectorBytes;
    const int64_t end = (first + count) * kPairLanes;
    for (int64_t c = first * kPairLanes; c < end && c < args.out_channels; ++c) {
      const int64_t pair = c / kPairLanes - first;
      PrepareChannel(args, c, stride,
                     prepared + pair * 2 * kVectorBytes + c % kPairLanes * kStepWeights);
    }
    prepared += DoubleSteps(args) * stride;
    first += count;
  }
}

}  // namespace bitmill
