#include "kernels/pack/sign_key.h"

#include <cmath>

#include "base/half.h"

namespace bitmill {
namespace {

constexpr int16_t kOutOfReach = 0x7fff;

float ValueOf(PackSource source, int16_t key) {
  const auto bits = static_cast<uint16_t>(key < 0 ? key ^ 0x7fff : key);
  return source == PackSource::kHalf ? HalfToFloat(bits) : BFloat16ToFloat(bits);
}

SignKey IntegerKey(int16_t low, int16_t high, float threshold) {
  if (std::isnan(threshold) || threshold > high) return {low, true};
  return {threshold <= low ? low : static_cast<int16_t>(std::ceil(threshold)), false};
}

}  // namespace

SignKey SignKeyOf(PackSource source, float threshold) {
  if (source == PackSource::kInt8) return IntegerKey(-128, 127, threshold);
  if (source == PackSource::kUInt8) return IntegerKey(0, 255, threshold);
  if (std::isnan(threshold)) return {kOutOfReach, false};
  const auto near = static_cast<int16_t>(source == PackSource::kHalf ? FloatToHalf(threshold)
                                                                     : FloatToBFloat16(threshold));
  auto key = static_cast<int16_t>(near < 0 ? near ^ 0x7fff : near);
  if (ValueOf(source, key) < threshold) return {static_cast<int16_t>(key + 1), false};
  // Both zeros reach a threshold of zero.
  if (key == 0 && threshold <= 0.0F) key = -1;
  return {key, false};
}

}  // namespace bitmill
