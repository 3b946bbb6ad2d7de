#include "server/analysis/quality/largest_score.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace bitmill {
namespace {

constexpr int64_t kLanes = 4;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

constexpr int64_t kVectors = 4;  // of a step that looks for the largest
constexpr int64_t kBlock = 16 * kLanes;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSumTolerance = 1e-3F;

// 2^x = 1 + x (c0 + x (c1 + ..)) for x in [-1/2, 1/2], off by 2.1e-7 of itself: interpolated at the
// Chebyshev nodes. Exactly 1 at 0.
constexpr float kPowerOfTwo[] = {0.6931471806F, 0.2402234904F, 0.05550381014F, 0.009666368515F,
                                 0.001338130254F};
constexpr float kLog2E = 1.44269504F;
constexpr float kLeastExponent = -126;   // of a float with all its digits
constexpr float kRounding = 12'582'912;  // 1.5 * 2^23: adding it leaves whole numbers
constexpr int kMantissaBits = 23;

Floats Every(float value) { return Floats{value, value, value, value}; }

Floats Load(const std::byte* scores, int64_t index) {
  Floats values = Every(0);
  std::memcpy(&values, scores + index * static_cast<int64_t>(sizeof(float)), sizeof values);
  return values;
}

float LoadOne(const std::byte* scores, int64_t index) {
  float value = 0;
  std::memcpy(&value, scores + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

// The last ones, less than a vector of them, and others that change nothing.
Floats LoadRest(const std::byte* scores, int64_t from, int64_t count, float others) {
  Floats values = Every(others);
  for (int64_t i = from; i < count; ++i) values[i - from] = LoadOne(scores, i);
  return values;
}

// `a` where it is larger; so what is no number is passed over as `a` and kept as `b`.
Floats Larger(Floats a, Floats b) { return a > b ? a : b; }
Floats Smaller(Floats a, Floats b) { return a < b ? a : b; }

float Sum(Floats values) { return (values[0] + values[1]) + (values[2] + values[3]); }
float Largest(Floats values) {
  return std::max(std::max(values[0], values[1]), std::max(values[2], values[3]));
}
float Smallest(Floats values) {
  return std::min(std::min(values[0], values[1]), std::min(values[2], values[3]));
}

struct Place {
  float largest = -kInfinity;
  int64_t from = 0;  // it is not before
};

Place FindLargest(const std::byte* scores, int64_t count) {
  Place place;
  int64_t at = 0;
  for (; at + kBlock <= count; at += kBlock) {
    Floats most[kVectors] = {Every(-kInfinity), Every(-kInfinity), Every(-kInfinity),
                             Every(-kInfinity)};
    for (int64_t i = 0; i < kBlock; i += kVectors * kLanes) {
      for (int64_t v = 0; v < kVectors; ++v) {
        most[v] = Larger(Load(scores, at + i + v * kLanes), most[v]);
      }
    }
    const float largest = Largest(Larger(Larger(most[0], most[1]), Larger(most[2], most[3])));
    if (largest > place.largest) place = {largest, at};
  }
  for (; at < count; ++at) {
    const float score = LoadOne(scores, at);
    if (score > place.largest) place = {score, at};
  }
  return place;
}

bool AreProbabilities(const std::byte* scores, int64_t count) {
  Floats sum = Every(0), least = Every(0);
  int64_t at = 0;
  for (; at + kLanes <= count; at += kLanes) {
    const Floats values = Load(scores, at);
    sum += values;
    least = Smaller(values, least);
  }
  const Floats rest = LoadRest(scores, at, count, 0);
  sum += rest;
  least = Smaller(rest, least);
  return Smallest(least) >= 0 && std::abs(Sum(sum) - 1) <= kSumTolerance;
}

// Of each x - `largest`; adds the exponents to `seen`, which is no number then if one of x is none.
Floats Exponentials(Floats x, Floats largest, Floats& seen) {
  const Floats exponent = Larger(Every(kLeastExponent), (x - largest) * Every(kLog2E));
  seen += exponent;
  const Floats rounded = exponent + Every(kRounding);
  const Floats rest = exponent - (rounded - Every(kRounding));
  Floats power = Every(kPowerOfTwo[4]);
  for (int i = 3; i >= 0; --i) power = power * rest + Every(kPowerOfTwo[i]);
  power = power * rest + Every(1);
  return std::bit_cast<Floats>(std::bit_cast<Ints>(power) +
                               (std::bit_cast<Ints>(rounded) << kMantissaBits));
}

float Softmax(const std::byte* scores, int64_t count, float of_largest) {
  const Floats largest = Every(of_largest);
  Floats seen = Every(0);
  double total = 0;  // of blocks: a thousand additions of floats would all be off to one side
  int64_t at = 0;
  while (at < count) {
    Floats of_block = Every(0);
    const int64_t end = std::min(at + kBlock, count);
    for (; at + kLanes <= end; at += kLanes) {
      of_block += Exponentials(Load(scores, at), largest, seen);
    }
    if (at < end) {
      of_block += Exponentials(LoadRest(scores, at, end, -kInfinity), largest, seen);
      at = end;
    }
    total += Sum(of_block);
  }
  return std::isnan(Sum(seen)) ? -1 : static_cast<float>(1 / total);
}

}  // namespace

LargestScore FindLargestScore(const std::byte* scores, int64_t count, ScoreShare share) {
  LargestScore found;
  const Place place = FindLargest(scores, count);
  for (int64_t i = place.from; i < count && found.index < 0; ++i) {
    if (LoadOne(scores, i) == place.largest) found.index = static_cast<int32_t>(i);
  }
  if (share == ScoreShare::kLeave || found.index < 0 || !std::isfinite(place.largest)) return found;
  if (place.largest <= 1 + kSumTolerance && AreProbabilities(scores, count)) {
    found.share = std::min(1.0F, place.largest);
  } else {
    found.share = Softmax(scores, count, place.largest);
  }
  return found;
}

}  // namespace bitmill
