// Weights into the layout of kernels/bconv/bconv.h; runs once, when a model is compiled.
#include <string.h>

#include "kernels/bconv/bconv_table.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kWordBits = 64;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t PackedBconvWords(int32_t out_channels, int32_t channels, int32_t taps, int32_t planes) {
  return CeilDiv(out_channels, kLanes) * taps * CeilDiv(channels, kWordBits) * planes * kLanes;
}

void PackBconvWeights(const int8_t* weights, int32_t out_channels, int32_t channels, int32_t taps,
                      int32_t planes, const uint8_t* negate, uint64_t* packed) {
  const int64_t c_words = CeilDiv(channels, kWordBits);
  const int64_t words = PackedBconvWords(out_channels, channels, taps, planes);
  memset(packed, 0, static_cast<size_t>(words) * sizeof(uint64_t));
  for (int64_t o = 0; o < out_channels; ++o) {
    const bool flip = negate != nullptr && negate[o] != 0;
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t t = 0; t < taps; ++t) {
        const int8_t value = weights[(o * channels + c) * taps + t];
        if (value == 0) continue;  // in neither plane
        const uint64_t bit = uint64_t{1} << (c % kWordBits);
        const int64_t word = ((o / kLanes * taps + t) * c_words + c / kWordBits) * planes;
        uint64_t* lane = packed + word * kLanes + o % kLanes;
        if (planes == 2) lane[0] |= bit;
        if ((value < 0) != flip) lane[(planes - 1) * kLanes] |= bit;
      }
    }
  }
}

}  // namespace bitmill
