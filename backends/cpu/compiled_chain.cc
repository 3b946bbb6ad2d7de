#include "backends/cpu/compiled_chain.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr int64_t kBlockElements = 2048;  // 8 KiB: source and destination stay in L1

// One operand for all elements, or one an element; the loops below are made for both.
struct Same {
  float value;
  float operator[](int64_t) const { return value; }
};
struct Each {
  const float* values;
  float operator[](int64_t i) const { return values[i]; }
};

template <typename Fn>
inline void Map(const float* src, float* dst, int64_t count, Fn fn) {
  for (int64_t i = 0; i < count; ++i) dst[i] = fn(src[i], i);
}

template <typename A, typename B>
void Apply(ChainOp op, const float* src, float* dst, int64_t count, A a, B b) {
  switch (op) {
    case ChainOp::kAdd:
      return Map(src, dst, count, [=](float x, int64_t i) { return x + a[i]; });
    case ChainOp::kSub:
      return Map(src, dst, count, [=](float x, int64_t i) { return x - a[i]; });
    case ChainOp::kMul:
      return Map(src, dst, count, [=](float x, int64_t i) { return x * a[i]; });
    case ChainOp::kDiv:
      return Map(src, dst, count, [=](float x, int64_t i) { return x / a[i]; });
    case ChainOp::kReverseSub:
      return Map(src, dst, count, [=](float x, int64_t i) { return a[i] - x; });
    case ChainOp::kReverseDiv:
      return Map(src, dst, count, [=](float x, int64_t i) { return a[i] / x; });
    case ChainOp::kClip:
      return Map(src, dst, count, [=](float x, int64_t i) {
        const float low = x < a[i] ? a[i] : x;
        return b[i] < low ? b[i] : low;
      });
    case ChainOp::kRelu:
      return Map(src, dst, count, [](float x, int64_t) { return x < 0.0F ? 0.0F : x; });
    case ChainOp::kLeakyRelu:
      return Map(src, dst, count, [=](float x, int64_t i) { return x < 0.0F ? a[i] * x : x; });
    case ChainOp::kHardTanh:
      return Map(src, dst, count, [](float x, int64_t) {
        const float low = x < -1.0F ? -1.0F : x;
        return 1.0F < low ? 1.0F : low;
      });
    case ChainOp::kAbs:
      return Map(src, dst, count, [](float x, int64_t) { return std::fabs(x); });
    case ChainOp::kNeg:
      return Map(src, dst, count, [](float x, int64_t) { return -x; });
    case ChainOp::kSqrt:
      return Map(src, dst, count, [](float x, int64_t) { return std::sqrt(x); });
    case ChainOp::kFloor:
      return Map(src, dst, count, [](float x, int64_t) { return std::floor(x); });
    case ChainOp::kCeil:
      return Map(src, dst, count, [](float x, int64_t) { return std::ceil(x); });
    case ChainOp::kRound:
      return Map(src, dst, count, [](float x, int64_t) { return std::nearbyint(x); });
    case ChainOp::kPow:
      return Map(src, dst, count, [=](float x, int64_t i) { return std::pow(x, a[i]); });
    case ChainOp::kSigmoid:
      return Map(src, dst, count, [](float x, int64_t) { return 1.0F / (1.0F + std::exp(-x)); });
    case ChainOp::kTanh:
      return Map(src, dst, count, [](float x, int64_t) { return std::tanh(x); });
    case ChainOp::kExp:
      return Map(src, dst, count, [](float x, int64_t) { return std::exp(x); });
    case ChainOp::kLog:
      return Map(src, dst, count, [](float x, int64_t) { return std::log(x); });
  }
}

}  // namespace

absl::StatusOr<CompiledChain> CompiledChain::Make(const Chain& chain, int64_t channels) {
  CompiledChain result;
  result.channels_ = channels;
  for (const ChainStep& step : chain) {
    for (const std::vector<float>* operand : {&step.operand, &step.operand2}) {
      const auto size = static_cast<int64_t>(operand->size());
      if (size > 1 && size != channels) {
        return absl::InternalError(
            absl::StrCat("a chain operand has ", size, " values for ", channels, " channels"));
      }
      if (size > 1) result.per_channel_ = true;
    }
    result.steps_.push_back({step.op, step.operand, step.operand2});
  }
  return result;
}

int64_t CompiledChain::table_bytes() const {
  size_t values = 0;
  for (const CompiledStep& step : steps_) values += step.a.size() + step.b.size();
  return static_cast<int64_t>(values * sizeof(float));
}

void CompiledChain::RunChannel(const float* src, float* dst, int64_t count, int64_t channel) const {
  const auto pick = [&](const std::vector<float>& values) {
    return Same{values.empty() ? 0.0F : values[values.size() == 1 ? 0 : size_t(channel)]};
  };
  for (int64_t begin = 0; begin < count; begin += kBlockElements) {
    const int64_t block = std::min(kBlockElements, count - begin);
    const float* from = src + begin;
    for (const CompiledStep& step : steps_) {
      Apply(step.op, from, dst + begin, block, pick(step.a), pick(step.b));
      from = dst + begin;
    }
  }
}

void CompiledChain::RunPixel(const float* src, float* dst) const {
  for (const CompiledStep& step : steps_) {
    const bool each_a = step.a.size() > 1;
    const bool each_b = step.b.size() > 1;
    const Same a{step.a.empty() ? 0.0F : step.a[0]};
    const Same b{step.b.empty() ? 0.0F : step.b[0]};
    if (each_a && each_b) {
      Apply(step.op, src, dst, channels_, Each{step.a.data()}, Each{step.b.data()});
    } else if (each_a) {
      Apply(step.op, src, dst, channels_, Each{step.a.data()}, b);
    } else if (each_b) {
      Apply(step.op, src, dst, channels_, a, Each{step.b.data()});
    } else {
      Apply(step.op, src, dst, channels_, a, b);
    }
    src = dst;
  }
}

void CompiledChain::RunPlanar(const float* src, float* dst, int64_t inner) const {
  if (steps_.empty()) {
    if (src != dst) std::memcpy(dst, src, static_cast<size_t>(channels_ * inner) * sizeof(float));
  } else if (!per_channel_) {
    RunChannel(src, dst, channels_ * inner, 0);
  } else if (inner == 1) {
    RunPixel(src, dst);
  } else {
    for (int64_t c = 0; c < channels_; ++c) RunChannel(src + c * inner, dst + c * inner, inner, c);
  }
}

void CompiledChain::RunInterleaved(float* data, int64_t pixels, int64_t stride) const {
  if (steps_.empty()) return;
  if (!per_channel_ && stride == channels_) return RunChannel(data, data, pixels * stride, 0);
  for (int64_t p = 0; p < pixels; ++p) RunPixel(data + p * stride, data + p * stride);
}

}  // namespace bitmill
