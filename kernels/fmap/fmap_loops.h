// The loops of kernels/fmap/fmap.h in plain C++, made for vectorization by the compiler and
// compiled once for each instruction set. Everything is local to the file that includes it: an
// inline function that the linker shared between instruction sets would run the wrong one.
#pragma once

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
#if !defined(__clang__)  // which checks at run time
#pragma GCC ivdep
#endif
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

#if defined(__AVX512F__)
inline constexpr int kFmapVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kFmapVectorBytes = 32;
#else
inline constexpr int kFmapVectorBytes = 16;
#endif
typedef float FmapVector __attribute__((vector_size(kFmapVectorBytes)));
inline constexpr int kFmapLanes = kFmapVectorBytes / 4;

// kVectors times kFmapLanes channels of one output pixel, in registers over all taps. (An array of
// them would pass through memory from tap to tap.)
template <int kVectors, bool kMaximum>
inline void FmapPoolPixel(const FmapPoolArgs& args, const float* src, float* dst) {
  constexpr float kStart = kMaximum ? -__builtin_inff() : 0.0F;
  const FmapVector start = FmapVector{} + kStart;
  FmapVector v0 = start, v1 = start, v2 = start, v3 = start;
  const auto combine = [](FmapVector& best, const float* tap) {
    FmapVector value;
    __builtin_memcpy(&value, tap, sizeof value);
    best = kMaximum ? (value > best ? value : best) : best + value;
  };
  for (int64_t t = 0; t < args.tap_count; ++t) {
    const float* const tap = src + args.taps[t];
    combine(v0, tap);
    if (kVectors > 1) combine(v1, tap + kFmapLanes);
    if (kVectors > 2) combine(v2, tap + 2 * kFmapLanes);
    if (kVectors > 3) combine(v3, tap + 3 * kFmapLanes);
  }
  const FmapVector divisor = FmapVector{} + (kMaximum || args.tap_count == 0 ? 1.0F : args.divisor);
  const auto store = [&](const FmapVector& best, float* to) {
    const FmapVector value = kMaximum ? best : best / divisor;
    __builtin_memcpy(to, &value, sizeof value);
  };
  store(v0, dst);
  if (kVectors > 1) store(v1, dst + kFmapLanes);
  if (kVectors > 2) store(v2, dst + 2 * kFmapLanes);
  if (kVectors > 3) store(v3, dst + 3 * kFmapLanes);
}

template <bool kMaximum>
inline void FmapPoolChannel(const FmapPoolArgs& args, const float* src, float* dst) {
  float best = kMaximum ? -__builtin_inff() : 0.0F;
  for (int64_t t = 0; t < args.tap_count; ++t) {
    const float value = src[args.taps[t]];
    best = kMaximum ? (value > best ? value : best) : best + value;
  }
  *dst = kMaximum || args.tap_count == 0 ? best : best / args.divisor;
}

template <bool kMaximum>
inline void FmapPoolLine(const FmapPoolArgs& args) {
  constexpr int kStep = 4 * kFmapLanes;
  for (int64_t p = 0; p < args.pixels; ++p) {
    const float* src = args.src + p * args.src_pixel;
    float* dst = args.dst + p * args.dst_pixel;
    int64_t c = args.channels;
    for (; c >= kStep; c -= kStep, src += kStep, dst += kStep) {
      FmapPoolPixel<4, kMaximum>(args, src, dst);
    }
    for (; c >= kFmapLanes; c -= kFmapLanes, src += kFmapLanes, dst += kFmapLanes) {
      FmapPoolPixel<1, kMaximum>(args, src, dst);
    }
    for (; c > 0; --c, ++src, ++dst) FmapPoolChannel<kMaximum>(args, src, dst);
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
