// Element-wise operations and pooling on float32 maps: what stands between the low-bit layers of a
// network. Each element is what the formula gives in float32, operation by operation; a comparison
// with NaN is false, as the formulas are written.
//
// Memory-bound beyond the first-level cache: callers work in blocks.
#pragma once

#include <stdint.h>

namespace bitmill {

enum class FmapOp : uint8_t {
  kAdd,         // x + a
  kSub,         // x - a
  kMul,         // x * a
  kDiv,         // x / a
  kReverseSub,  // a - x
  kReverseDiv,  // a / x
  kClip,        // low = x < a ? a : x;  b < low ? b : low
  kRelu,        // x < 0 ? 0 : x
  kLeakyRelu,   // x < 0 ? a * x : x
  kHardTanh,    // clip to -1 .. 1
  kAbs,
  kNeg,
  kSqrt,
  kFloor,
  kCeil,
  kRound,  // to nearest, ties to even
};

// dst[i] = op(src[i], a[i], b[i]). An operand that is not `each` has one value for all elements;
// one that the operation does not use may be null. dst may be src or an operand; no partial
// overlap.
struct FmapArgs {
  FmapOp op;
  bool each_a, each_b;
  const float* src;
  const float* a;
  const float* b;
  float* dst;
  int64_t count;
};

// A line of windows over a map whose channels are innermost:
//
//   dst[p * dst_pixel + c] = best or sum over t of src[p * src_pixel + taps[t] + c], in this order
//
// maximum: from -infinity, value > best ? value : best. Otherwise the sum is divided by `divisor`.
// Without taps: -infinity, or 0.
struct FmapPoolArgs {
  bool maximum;
  float divisor;
  const float* src;
  float* dst;
  int64_t pixels, channels;
  int64_t src_pixel, dst_pixel;  // elements from one window, or output pixel, to the next
  const int64_t* taps;           // [tap_count] elements
  int64_t tap_count;
};

using FmapFn = void (*)(const FmapArgs& args);
using FmapPoolFn = void (*)(const FmapPoolArgs& args);

}  // namespace bitmill
