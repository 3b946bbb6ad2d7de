// What values a tensor takes on samples, and the range that its codes should cover.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/passes/quantize_float.h"

namespace bitmill {

// Values in bins around 0 whose width doubles whenever they no longer reach: one pass, and the same
// result in every order. Values that are not finite are passed over.
class ValueHistogram {
 public:
  void Add(absl::Span<const float> values);

  // From the smallest to the largest, 0 included; both 0 when nothing else was seen.
  ActivationRange Range() const { return {low_, high_}; }
  // The part of Range(), both ends shortened alike, whose codes have the smallest mean square
  // error: a value inside errs by its code's rounding, one outside by its distance.
  ActivationRange ClippedRange(int32_t levels) const;

 private:
  static constexpr int64_t kHalf = 1024;  // bins on each side of 0

  void Reach(float x);
  double ErrorOf(const ActivationRange& range, int32_t levels) const;

  float low_ = 0.0F, high_ = 0.0F;
  double width_ = 0.0;  // of a bin, a power of two; 0 until a value other than 0 came
  std::vector<int64_t> counts_ = std::vector<int64_t>(2 * kHalf);
};

}  // namespace bitmill
