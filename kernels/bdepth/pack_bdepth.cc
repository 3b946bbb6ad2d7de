// Weights and limits into the layouts of kernels/bdepth/bdepth.h; runs once, when a model is
// compiled.
#include <string.h>

#include "kernels/bdepth/bdepth_table.h"

namespace bitmill {
namespace {

constexpr int64_t kWordBits = 64;

}  // namespace

int32_t BdepthCountPlanes(int32_t taps) {
  return taps <= kBdepthNarrowTaps ? kBdepthNarrowPlanes : kBdepthWidePlanes;
}

void PackBdepthWeights(const int8_t* weights, int32_t channels, int32_t taps, int32_t planes,
                       const uint8_t* negate, uint64_t* packed) {
  const int64_t c_words = (channels + kWordBits - 1) / kWordBits;
  const int64_t line = c_words + kBdepthRepeatWords;
  memset(packed, 0, static_cast<size_t>(taps * planes * line) * sizeof(uint64_t));
  for (int64_t c = 0; c < channels; ++c) {
    const bool flip = negate != nullptr && negate[c] != 0;
    const uint64_t bit = uint64_t{1} << (c % kWordBits);
    for (int64_t t = 0; t < taps; ++t) {
      const int8_t value = weights[c * taps + t];
      if (value == 0) continue;  // in neither plane
      uint64_t* const first = packed + t * planes * line + c / kWordBits;
      if (planes == 2) *first |= bit;
      if ((value < 0) != flip) first[(planes - 1) * line] |= bit;
    }
  }
  for (int64_t i = 0; i < int64_t{taps} * planes; ++i) {
    uint64_t* const words = packed + i * line;
    for (int64_t w = c_words; w < line; ++w) words[w] = words[w - c_words];
  }
}

void SetBdepthLimit(int32_t limit, int32_t taps, int64_t plane_words, int32_t channel,
                    uint64_t* word) {
  const int32_t planes = BdepthCountPlanes(taps);
  const int32_t never = (1 << planes) - 2;
  const int32_t held = limit < -1 ? -1 : limit >= taps ? never : limit;
  for (int32_t k = 0; k < planes; ++k) {
    const auto bit = static_cast<uint64_t>((never - held) >> k & 1);
    word[k * plane_words] |= bit << (channel % kWordBits);
  }
}

}  // namespace bitmill
