#include "model/passes/thresholds.h"

#include <cstring>
#include <limits>

namespace bitmill {
namespace {

// Floats in ascending order as unsigned integers: -infinity, ..., -0.0, 0.0, ..., +infinity.
constexpr uint32_t kSignBit = 0x80000000U;

uint32_t KeyOf(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return (bits & kSignBit) != 0 ? ~bits : bits | kSignBit;
}

float FloatOf(uint32_t key) {
  const uint32_t bits = (key & kSignBit) != 0 ? key & ~kSignBit : ~key;
  float x = 0.0F;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

}  // namespace

float SmallestFloatWhere(const std::function<bool(float)>& holds) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (holds(-kInfinity)) return -kInfinity;
  if (!holds(kInfinity)) return std::numeric_limits<float>::quiet_NaN();
  uint32_t low = KeyOf(-kInfinity);  // false here
  uint32_t high = KeyOf(kInfinity);  // true here
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    (holds(FloatOf(middle)) ? high : low) = middle;
  }
  return FloatOf(high) + 0.0F;
}

int32_t SmallestIntWhere(int32_t low, int32_t high, const std::function<bool(int32_t)>& holds) {
  if (holds(low)) return std::numeric_limits<int32_t>::min();
  if (!holds(high)) return std::numeric_limits<int32_t>::max();
  int64_t below = low;
  int64_t above = high;
  while (above - below > 1) {
    const int64_t middle = below + (above - below) / 2;
    (holds(static_cast<int32_t>(middle)) ? above : below) = middle;
  }
  return static_cast<int32_t>(above);
}

std::vector<float> CodeThresholds(int32_t levels, const std::function<int32_t(float)>& code) {
  std::vector<float> thresholds;
  for (int32_t level = 1; level < levels; ++level) {
    thresholds.push_back(SmallestFloatWhere([&](float x) { return code(x) >= level; }));
  }
  return thresholds;
}

}  // namespace bitmill
