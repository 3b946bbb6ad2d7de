#include "backends/cpu/level_quantizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace bitmill {
namespace {

constexpr int32_t kCountedLevels = 8;
constexpr int64_t kBlock = 128;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

float Load(const std::byte* at) {
  float x = 0.0F;
  std::memcpy(&x, at, sizeof x);
  return x;
}

}  // namespace

LevelQuantizer::LevelQuantizer(absl::Span<const float> thresholds)
    : count_(static_cast<int32_t>(thresholds.size())),
      levels_(thresholds.begin(), thresholds.end()) {
  levels_.push_back(std::numeric_limits<float>::quiet_NaN());
  if (count_ <= kCountedLevels) return;
  FitLine();
  way_ = LineIsExact() ? Way::kLine : Way::kSearch;
}

// Through the first and the last finite threshold, half a level low.
void LevelQuantizer::FitLine() {
  int32_t first = 0, last = count_;
  while (first < last && !std::isfinite(levels_[static_cast<size_t>(first)])) ++first;
  while (last > first && !std::isfinite(levels_[static_cast<size_t>(last - 1)])) --last;
  if (first >= last) return;
  start_ = levels_[static_cast<size_t>(first)];
  const float span = levels_[static_cast<size_t>(last - 1)] - start_;
  const float slope = static_cast<float>(last - 1 - first) / span;
  slope_ = span > 0.0F && std::isfinite(slope) ? slope : 0.0F;
  offset_ = static_cast<float>(first) + 0.5F;
}

int32_t LevelQuantizer::CodeOf(float x) const {
  const auto end = levels_.end() - 1;
  const auto reached = std::partition_point(levels_.begin(), end, [x](float t) { return x >= t; });
  return static_cast<int32_t>(reached - levels_.begin());
}

bool LevelQuantizer::LineIsExact() const {
  const auto holds = [&](float x) {
    const int32_t code = CodeOf(x), guess = Guess(x);
    return guess == code || guess + 1 == code;
  };
  if (!holds(-kInfinity) || !holds(kInfinity)) return false;
  return std::all_of(levels_.begin(), levels_.end() - 1, [&](float t) {
    return std::isnan(t) || (holds(t) && (t == -kInfinity || holds(std::nextafter(t, -kInfinity))));
  });
}

void LevelQuantizer::Run(const std::byte* src, int64_t src_stride, int64_t count, std::byte* dst,
                         int64_t dst_stride) const {
  const float* const levels = levels_.data();
  std::array<float, kBlock> values;
  std::array<int32_t, kBlock> codes;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t block = std::min(kBlock, count - begin);
    const std::byte* const from = src + begin * src_stride;
    if (src_stride == sizeof(float)) {
      std::memcpy(values.data(), from, static_cast<size_t>(block) * sizeof(float));
    } else {
      for (int64_t i = 0; i < block; ++i) {
        values[static_cast<size_t>(i)] = Load(from + i * src_stride);
      }
    }
    const float* const x = values.data();
    int32_t* const code = codes.data();
    if (way_ == Way::kCount) {
      std::fill_n(code, block, 0);
      for (int32_t level = 0; level < count_; ++level) {
        const float t = levels[level];
        for (int64_t i = 0; i < block; ++i) code[i] += x[i] >= t ? 1 : 0;
      }
    } else {
      for (int64_t i = 0; i < block; ++i) code[i] = Guess(x[i]);
      for (int64_t i = 0; way_ == Way::kLine && i < block; ++i) {
        code[i] += x[i] >= levels[code[i]] ? 1 : 0;
      }
      for (int64_t i = 0; way_ == Way::kSearch && i < block; ++i) {
        while (x[i] >= levels[code[i]]) ++code[i];
        while (code[i] > 0 && !(x[i] >= levels[code[i] - 1])) --code[i];
      }
    }
    std::byte* const to = dst + begin * dst_stride;
    for (int64_t i = 0; i < block; ++i) to[i * dst_stride] = static_cast<std::byte>(code[i]);
  }
}

}  // namespace bitmill
