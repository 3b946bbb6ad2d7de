// The loops of kernels/fmap/fmap.h in plain C++, made for vectorization by the compiler and
// compiled once for each instruction set. Everything is local to the file that includes it: an
// inline function that the linker shared between instruction sets would run the wrong one.
#pragma once

#include <limits>

#include "kernels/fmap/fmap.h"

namespace bitmill {
namespace {

struct FmapSame {
  float value;
  float operator[](int64_t) const { return value; }
};
struct FmapEach {
  const float* values;
  float operator[](int64_t i) const { return values[i]; }
};

template <typename Fn>
inline void FmapLoop(const FmapArgs& args, Fn fn) {
  const float* const src = args.src;
  float* const dst = args.dst;
  const int64_t count = args.count;
  // In place or apart, but never shifted: no iteration reads what another one wrote.
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dst[i] = fn(src[i], i);
}

template <typename A, typename B>
inline void FmapApply(const FmapArgs& args, A a, B b) {
  switch (args.op) {
    case FmapOp::kAdd:
      return FmapLoop(args, [=](float x, int64_t i) { return x + a[i]; });
    case FmapOp::kSub:
      return FmapLoop(args, [=](float x, int64_t i) { return x - a[i]; });
    case FmapOp::kMul:
      return FmapLoop(args, [=](float x, int64_t i) { return x * a[i]; });
    case FmapOp::kDiv:
      return FmapLoop(args, [=](float x, int64_t i) { return x / a[i]; });
    case FmapOp::kReverseSub:
      return FmapLoop(args, [=](float x, int64_t i) { return a[i] - x; });
    case FmapOp::kReverseDiv:
      return FmapLoop(args, [=](float x, int64_t i) { return a[i] / x; });
    case FmapOp::kClip:
      return FmapLoop(args, [=](float x, int64_t i) {
        const float low = x < a[i] ? a[i] : x;
        return b[i] < low ? b[i] : low;
      });
    case FmapOp::kRelu:
      return FmapLoop(args, [](float x, int64_t) { return x < 0.0F ? 0.0F : x; });
    case FmapOp::kLeakyRelu:
      return FmapLoop(args, [=](float x, int64_t i) {
        const float scaled = a[i] * x;
        return x < 0.0F ? scaled : x;
      });
    case FmapOp::kHardTanh:
      return FmapLoop(args, [](float x, int64_t) {
        const float low = x < -1.0F ? -1.0F : x;
        return 1.0F < low ? 1.0F : low;
      });
    case FmapOp::kAbs:
      return FmapLoop(args, [](float x, int64_t) { return __builtin_fabsf(x); });
    case FmapOp::kNeg:
      return FmapLoop(args, [](float x, int64_t) { return -x; });
    case FmapOp::kSqrt:
      return FmapLoop(args, [](float x, int64_t) { return __builtin_sqrtf(x); });
    case FmapOp::kFloor:
      return FmapLoop(args, [](float x, int64_t) { return __builtin_floorf(x); });
    case FmapOp::kCeil:
      return FmapLoop(args, [](float x, int64_t) { return __builtin_ceilf(x); });
    case FmapOp::kRound:
      return FmapLoop(args, [](float x, int64_t) { return __builtin_nearbyintf(x); });
  }
}

inline void FmapRun(const FmapArgs& args) {
  const FmapSame a{args.a == nullptr ? 0.0F : args.a[0]};
  const FmapSame b{args.b == nullptr ? 0.0F : args.b[0]};
  if (args.each_a && args.each_b) {
    FmapApply(args, FmapEach{args.a}, FmapEach{args.b});
  } else if (args.each_a) {
    FmapApply(args, FmapEach{args.a}, b);
  } else if (args.each_b) {
    FmapApply(args, a, FmapEach{args.b});
  } else {
    FmapApply(args, a, b);
  }
}

// kChannels of one output pixel, in registers over all taps.
template <int kChannels, bool kMaximum>
inline void FmapPoolPixel(const FmapPoolArgs& args, const float* src, float* dst) {
  float best[kChannels];
  for (int c = 0; c < kChannels; ++c) {
    best[c] = kMaximum ? -std::numeric_limits<float>::infinity() : 0.0F;
  }
  for (int64_t t = 0; t < args.tap_count; ++t) {
    const float* const tap = src + args.taps[t];
    for (int c = 0; c < kChannels; ++c) {
      best[c] = kMaximum ? (tap[c] > best[c] ? tap[c] : best[c]) : best[c] + tap[c];
    }
  }
  const bool divide = !kMaximum && args.tap_count > 0;
  for (int c = 0; c < kChannels; ++c) dst[c] = divide ? best[c] / args.divisor : best[c];
}

template <bool kMaximum>
inline void FmapPoolLine(const FmapPoolArgs& args) {
  for (int64_t p = 0; p < args.pixels; ++p) {
    const float* src = args.src + p * args.src_pixel;
    float* dst = args.dst + p * args.dst_pixel;
    int64_t c = args.channels;
    for (; c >= 32; c -= 32, src += 32, dst += 32) FmapPoolPixel<32, kMaximum>(args, src, dst);
    for (; c >= 8; c -= 8, src += 8, dst += 8) FmapPoolPixel<8, kMaximum>(args, src, dst);
    for (; c > 0; --c, ++src, ++dst) FmapPoolPixel<1, kMaximum>(args, src, dst);
  }
}

inline void FmapPoolRun(const FmapPoolArgs& args) {
  if (args.maximum) {
    FmapPoolLine<true>(args);
  } else {
    FmapPoolLine<false>(args);
  }
}

}  // namespace
}  // namespace bitmill
