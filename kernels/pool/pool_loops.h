// The loops of kernels/pool/pool.h over vectors of any width, compiled once for each instruction
// set. Everything is local to the file that includes it: an inline function that the linker shared
// between instruction sets would run the wrong one. Loops over a run are functions of their own, so
// that their values get the registers.
//
// Output pixels whose windows are not clipped, of all lines where that is so, are one run. Three
// cases:
//   stride 1, no gaps     a run is one long pixel: taps are loads at other offsets;
//   stride 2, small ones  lines are combined as they lie, two vectors of pixels then fall into the
//                         even and the odd ones, which are combined: a full vector of outputs;
//   any other             pixel by pixel in pieces of the widest vector that fits; the last piece
//                         ends where the pixel ends and may overlap the one before.
// So no byte outside a line's pixels is touched and nothing needs a mask. Channels that take the
// minimum are complemented on the way in and out: min(x) = ~max(~x), for bits and for bytes.
//
// A vector type has: Type, kBytes, Load, Store, Xor, Zero, Max<PoolKind>; and those of several
// pixels Even<bytes of a pixel>(a, b) and Odd<...>(a, b), of the pixels of a and then b.
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/pool/pool.h"

namespace bitmill {
namespace {

enum class PoolKind { kBits, kCodes };

// Output pixels of some lines whose windows hold the same taps.
struct PoolRun {
  const uint8_t* first;           // byte of the first tap of the first window
  int64_t rows, columns;          // taps, 1 or more
  int64_t row_step, column_step;  // bytes from tap to tap
  int64_t window_step;            // bytes from window to window
  int64_t pixels, bytes;          // of a line, how many; bytes of each
  int64_t lines, line_step;       // how many; bytes from windows to those of the next line
  uint8_t* out;
  int64_t out_step, out_line;  // bytes from pixel to pixel and from line to line
};

struct PoolByte {
  using Type = uint8_t;
  static constexpr int64_t kBytes = 1;
  static Type Load(const uint8_t* p) { return *p; }
  static void Store(uint8_t* p, Type v) { *p = v; }
  static Type Xor(Type a, Type b) { return static_cast<Type>(a ^ b); }
  static Type Zero() { return 0; }
  template <PoolKind kKind>
  static Type Max(Type a, Type b) {
    if (kKind == PoolKind::kBits) return static_cast<Type>(a & b);
    return a > b ? a : b;
  }
};

// Instructions, taps and complements that a loop is compiled for; 0 taps: any number.
template <PoolKind kKindOf, bool kFlipOf, int kRowsOf, int kColumnsOf>
struct PoolLoop {
  static constexpr PoolKind kKind = kKindOf;
  static constexpr bool kFlip = kFlipOf;
  static constexpr int kRows = kRowsOf;
  static constexpr int kColumns = kColumnsOf;
};

// The taps of a run in registers: stores of bytes may change whatever lies in memory.
template <typename Loop, typename V>
struct PoolTaps {
  using Type = typename V::Type;
  explicit PoolTaps(const PoolRun& run)
      : rows(Loop::kRows > 0 ? Loop::kRows : run.rows),
        columns(Loop::kColumns > 0 ? Loop::kColumns : run.columns),
        row_step(run.row_step),
        column_step(run.column_step) {}

  static Type Load(const uint8_t* p, Type flip) {
    return Loop::kFlip ? V::Xor(V::Load(p), flip) : V::Load(p);
  }
  static Type Max(Type a, Type b) { return V::template Max<Loop::kKind>(a, b); }

  // The maximum of the taps at `window`, a vector wide.
  Type All(const uint8_t* window, Type flip) const {
    Type high = Load(window, flip);
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t* const row = window + r * row_step;
      for (int64_t c = r == 0 ? 1 : 0; c < columns; ++c) {
        high = Max(high, Load(row + c * column_step, flip));
      }
    }
    return high;
  }

  // As many windows as a vector has pixels, 2 pixels apart and of 2 or more columns.
  template <int kPixel>
  Type Pairs(const uint8_t* window, Type flip) const {
    Type high = V::Zero();
    for (int64_t c = 0; c < columns; c += 2) {
      // A column without a partner is taken as an odd one, so that no pixel behind it is read.
      const bool alone = c + 1 == columns;
      const uint8_t* const at = window + (alone ? c - 1 : c) * kPixel;
      Type a = Load(at, flip);
      Type b = Load(at + V::kBytes, flip);
      for (int64_t r = 1; r < rows; ++r) {
        const uint8_t* const row = at + r * row_step;
        a = Max(a, Load(row, flip));
        b = Max(b, Load(row + V::kBytes, flip));
      }
      Type both = V::template Odd<kPixel>(a, b);
      if (!alone) both = Max(both, V::template Even<kPixel>(a, b));
      high = c == 0 ? both : Max(high, both);
    }
    return high;
  }

  const int64_t rows, columns, row_step, column_step;
};

// Whether windows and outputs lie as close as pixels do.
template <typename Loop>
bool PoolAsOnePixel(const PoolRun& run) {
  return !Loop::kFlip && run.window_step == run.bytes && run.out_step == run.bytes;
}

// Pixels of at least a vector, piece by piece. flip: [bytes of a pixel], if any.
template <typename Loop, typename V>
[[gnu::noinline]] void PoolPieces(const PoolRun& run, const uint8_t* flip) {
  const bool one = PoolAsOnePixel<Loop>(run);
  const int64_t window_step = run.window_step, out_step = run.out_step;
  const int64_t last = (one ? run.pixels : 1) * run.bytes - V::kBytes;
  const PoolTaps<Loop, V> taps(run);
  const int64_t pixels = one ? 1 : run.pixels;
  const uint8_t* line = run.first;
  uint8_t* out_line = run.out;
  for (int64_t y = 0; y < run.lines; ++y, line += run.line_step, out_line += run.out_line) {
    const uint8_t* window = line;
    uint8_t* out = out_line;
    for (int64_t x = 0; x < pixels; ++x, window += window_step, out += out_step) {
      for (int64_t b = 0;;) {
        const typename V::Type mask = Loop::kFlip ? V::Load(flip + b) : V::Zero();
        const typename V::Type high = taps.All(window + b, mask);
        V::Store(out + b, Loop::kFlip ? V::Xor(high, mask) : high);
        if (b == last) break;
        b = b + V::kBytes < last ? b + V::kBytes : last;
      }
    }
  }
}

// False when the run is shorter than a vector. flip: a vector of it, if any.
template <typename Loop, typename V, int kPixel>
[[gnu::noinline]] bool PoolPairRun(const PoolRun& run, const uint8_t* flip) {
  constexpr int64_t kEach = V::kBytes / kPixel;
  const int64_t last = run.pixels - kEach;
  if (last < 0) return false;
  const typename V::Type mask = Loop::kFlip ? V::Load(flip) : V::Zero();
  const PoolTaps<Loop, V> taps(run);
  const uint8_t* line = run.first;
  uint8_t* out = run.out;
  for (int64_t y = 0; y < run.lines; ++y, line += run.line_step, out += run.out_line) {
    for (int64_t x = 0;;) {
      const typename V::Type high = taps.template Pairs<kPixel>(line + 2 * x * kPixel, mask);
      V::Store(out + x * kPixel, Loop::kFlip ? V::Xor(high, mask) : high);
      if (x == last) break;
      x = x + kEach < last ? x + kEach : last;
    }
  }
  return true;
}

// Whether PoolPairRun may have the run.
inline bool PoolInPairs(const PoolRun& run) {
  return run.columns > 1 && run.column_step == run.bytes && run.out_step == run.bytes &&
         run.window_step == 2 * run.bytes;
}

// Outputs along an axis whose windows are not clipped.
struct PoolInside {
  int64_t first, end;
};

// span: from the first tap to the last, in pixels.
inline PoolInside PoolInsideOf(int64_t span, int64_t stride, int64_t pad, int64_t in, int64_t out) {
  const int64_t room = in - 1 - span + pad;  // for the last first tap
  int64_t first = pad > 0 ? (pad + stride - 1) / stride : 0;
  int64_t end = room >= 0 ? room / stride + 1 : 0;
  if (first > out) first = out;
  if (end > out) end = out;
  return {first, end > first ? end : first};
}

// How many outputs from `at` on share taps.
inline int64_t PoolCount(const PoolInside& inside, int64_t at) {
  return at == inside.first && at < inside.end ? inside.end - at : 1;
}

struct PoolTapRange {
  int64_t first, count;
};

// Taps k with 0 <= origin + k * dilation < size.
inline PoolTapRange ClipPoolTaps(int64_t origin, int64_t taps, int64_t dilation, int64_t size) {
  if (origin >= 0 && origin + (taps - 1) * dilation < size) return {0, taps};  // no division
  const int64_t first = origin < 0 ? (-origin + dilation - 1) / dilation : 0;
  const int64_t end = origin < size ? (size - origin + dilation - 1) / dilation : 0;
  return {first, (end < taps ? end : taps) - first};
}

// Calls fn(run) for every run of the batch. One run, changed from call to call: its copies would be
// moved as vectors right after they were written as numbers, which the processor waits for.
template <typename Fn>
void ForEachPoolRun(const PoolArgs& args, Fn fn) {
  const PoolInside inside_x = PoolInsideOf(int64_t{args.kernel_w - 1} * args.dilation_w,
                                           args.stride_w, args.pad_left, args.in_w, args.out_w);
  const PoolInside inside_y = PoolInsideOf(int64_t{args.kernel_h - 1} * args.dilation_h,
                                           args.stride_h, args.pad_top, args.in_h, args.out_h);
  PoolRun run = {};
  run.row_step = int64_t{args.dilation_h} * args.in_row;
  run.column_step = int64_t{args.dilation_w} * args.in_pixel;
  run.window_step = int64_t{args.stride_w} * args.in_pixel;
  run.bytes = args.pixel_bytes;
  run.line_step = int64_t{args.stride_h} * args.in_row;
  run.out_step = args.out_pixel;
  run.out_line = args.out_row;
  for (int32_t n = 0; n < args.batch; ++n) {
    for (int64_t y = 0; y < args.out_h; y += run.lines) {
      const int64_t top = y * args.stride_h - args.pad_top;
      const PoolTapRange rows = ClipPoolTaps(top, args.kernel_h, args.dilation_h, args.in_h);
      const uint8_t* const line =
          args.input + n * args.in_image + (top + rows.first * args.dilation_h) * args.in_row;
      run.rows = rows.count;
      run.lines = PoolCount(inside_y, y);
      run.out = args.output + n * args.out_image + y * args.out_row;
      for (int64_t x = 0; x < args.out_w; x += run.pixels) {
        const int64_t left = x * args.stride_w - args.pad_left;
        const PoolTapRange taps = ClipPoolTaps(left, args.kernel_w, args.dilation_w, args.in_w);
        run.first = line + (left + taps.first * args.dilation_w) * args.in_pixel;
        run.columns = taps.count;
        run.pixels = PoolCount(inside_x, x);
        fn(run);
        run.out += run.pixels * args.out_pixel;
      }
    }
  }
}

// `Vectors` runs a run for a Loop: Vectors::Run<Loop>(run, flip); flip as PoolArgs::minimum, and
// for pixels of 8, 16 or 32 bytes repeated to 64.
template <typename Vectors, PoolKind kKind, bool kFlip>
void PoolRunOf(const PoolRun& run, const uint8_t* flip) {
  if (run.rows == 2 && run.columns == 2) {
    Vectors::template Run<PoolLoop<kKind, kFlip, 2, 2>>(run, flip);
  } else if (run.rows == 3 && run.columns == 3) {
    Vectors::template Run<PoolLoop<kKind, kFlip, 3, 3>>(run, flip);
  } else {
    Vectors::template Run<PoolLoop<kKind, kFlip, 0, 0>>(run, flip);
  }
}

template <typename Vectors, PoolKind kKind>
void Pool(const PoolArgs& args) {
  if (args.minimum == nullptr) {
    ForEachPoolRun(args,
                   [](const PoolRun& run) { PoolRunOf<Vectors, kKind, false>(run, nullptr); });
    return;
  }
  const int64_t bytes = args.pixel_bytes;
  uint8_t repeated[64];
  const uint8_t* flip = args.minimum;
  if (bytes == 8 || bytes == 16 || bytes == 32) {
    for (int64_t b = 0; b < 64; b += bytes) {
      memcpy(repeated + b, args.minimum, static_cast<size_t>(bytes));
    }
    flip = repeated;
  }
  ForEachPoolRun(args, [flip](const PoolRun& run) { PoolRunOf<Vectors, kKind, true>(run, flip); });
}

}  // namespace
}  // namespace bitmill
