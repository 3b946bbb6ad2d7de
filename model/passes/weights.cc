#include "model/passes/weights.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace bitmill {
namespace {

constexpr int kLargestInteger = 128;
// A product rounded to float is off by 2^-24 of itself; the scale found here by as much again.
constexpr double kTolerance = 0x1.2p-23;

// Distinct magnitudes of a row, ascending, zero left out; nothing when there are too many for
// integers of 8 bits, or one is not finite.
std::optional<std::vector<float>> Magnitudes(absl::Span<const float> row) {
  std::vector<float> magnitudes;
  for (const float w : row) {
    const float magnitude = std::fabs(w);
    if (!std::isfinite(magnitude)) return std::nullopt;
    if (magnitude == 0.0F) continue;
    const auto at = std::lower_bound(magnitudes.begin(), magnitudes.end(), magnitude);
    if (at != magnitudes.end() && *at == magnitude) continue;
    if (magnitudes.size() == kLargestInteger) return std::nullopt;
    magnitudes.insert(at, magnitude);
  }
  return magnitudes;
}

bool AreMultiples(const std::vector<float>& magnitudes, double scale) {
  for (const float magnitude : magnitudes) {
    const double integer = std::nearbyint(magnitude / scale);
    if (integer > kLargestInteger || integer < 1.0 ||
        std::fabs(integer * scale - magnitude) > kTolerance * magnitude) {
      return false;
    }
  }
  return true;
}

// The scale of which all magnitudes are multiples: the largest such, as a float.
std::optional<float> ScaleOf(const std::vector<float>& magnitudes) {
  if (magnitudes.empty()) return 1.0F;
  const double smallest = magnitudes.front();
  const double largest = magnitudes.back();
  if (largest > smallest * (kLargestInteger + 1)) return std::nullopt;
  for (int divisor = 1; divisor <= kLargestInteger; ++divisor) {
    // The largest magnitude gives the scale with the smallest relative error.
    const double integer = std::nearbyint(largest * divisor / smallest);
    if (integer > kLargestInteger) break;
    const auto scale = static_cast<float>(largest / integer);
    if (scale > 0.0F && AreMultiples(magnitudes, scale)) return scale;
  }
  return std::nullopt;
}

// Bits of two's complement that hold low .. high; 1 stands for -1 .. 1, 9 for too many.
int BitsFor(int low, int high) {
  if (low >= -1 && high <= 1) return 1;
  if (low >= -2 && high <= 1) return 2;
  if (low >= -8 && high <= 7) return 4;
  return low >= -kLargestInteger && high < kLargestInteger ? 8 : 9;
}

}  // namespace

std::optional<IntegerWeights> FindIntegerWeights(absl::Span<const float> weights,
                                                 int64_t channels) {
  if (channels <= 0 || weights.empty()) return std::nullopt;
  const size_t length = weights.size() / static_cast<size_t>(channels);
  IntegerWeights result;
  result.values.reserve(weights.size());
  bool has_zero = false;
  int lowest = 0;
  int highest = 0;
  for (int64_t o = 0; o < channels; ++o) {
    const absl::Span<const float> row = weights.subspan(static_cast<size_t>(o) * length, length);
    const auto magnitudes = Magnitudes(row);
    if (!magnitudes) return std::nullopt;
    std::optional<float> scale = ScaleOf(*magnitudes);
    if (!scale) return std::nullopt;
    // Two's complement reaches one further down: turn a row that needs it the other way up.
    int row_lowest = 0;
    int row_highest = 0;
    for (const float w : row) {
      const int integer = static_cast<int>(std::nearbyint(w / *scale));
      row_lowest = std::min(row_lowest, integer);
      row_highest = std::max(row_highest, integer);
      if (integer == 0) has_zero = true;
    }
    if (BitsFor(-row_highest, -row_lowest) < BitsFor(row_lowest, row_highest)) {
      *scale = -*scale;
      row_lowest = -std::exchange(row_highest, -row_lowest);
    }
    if (BitsFor(row_lowest, row_highest) > 8) return std::nullopt;
    lowest = std::min(lowest, row_lowest);
    highest = std::max(highest, row_highest);
    for (const float w : row) {
      result.values.push_back(static_cast<int8_t>(std::nearbyint(w / *scale)));
    }
    result.scale.push_back(*scale);
  }
  result.bits = BitsFor(lowest, highest);
  if (result.bits == 1 && has_zero) {
    result.bits = 2;
    result.ternary = true;
  }
  return result;
}

}  // namespace bitmill
