// float -> code by level thresholds: code = number of thresholds t with x >= t. NaN is at or above
// none of them, and nothing reaches a threshold that is NaN.
//
// A few levels are counted. Many are nearly always evenly spaced: a line through them gives a code
// that is right or one too low, and one comparison with the next threshold settles it. Whether the
// line is that good is checked once for every threshold, on both of its sides (the line and the
// code only rise, so nothing can go wrong in between); otherwise the guess is corrected in a loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace bitmill {

class LevelQuantizer {
 public:
  LevelQuantizer() = default;
  // At most 255 thresholds, ascending, NaN last.
  explicit LevelQuantizer(absl::Span<const float> thresholds);

  // `count` floats of any alignment, `src_stride` bytes apart; codes dst_stride bytes apart.
  void Run(const std::byte* src, int64_t src_stride, int64_t count, std::byte* dst,
           int64_t dst_stride) const;

  int64_t table_bytes() const { return static_cast<int64_t>(levels_.size() * sizeof(float)); }
  // Whether one comparison an element is enough; for tests.
  bool exact_line() const { return way_ == Way::kLine; }

 private:
  enum class Way : uint8_t { kCount, kLine, kSearch };

  int32_t Guess(float x) const {
    float at = (x - start_) * slope_ + offset_;
    at = at > 0.0F ? at : 0.0F;  // and 0 for NaN
    const auto top = static_cast<float>(count_);
    return static_cast<int32_t>(at < top ? at : top);
  }
  int32_t CodeOf(float x) const;
  void FitLine();
  bool LineIsExact() const;

  Way way_ = Way::kCount;
  int32_t count_ = 0;
  float start_ = 0.0F, slope_ = 0.0F, offset_ = 0.0F;
  std::vector<float> levels_;  // with a NaN behind the last, which nothing reaches
};

}  // namespace bitmill
