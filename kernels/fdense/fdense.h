// Dense float32 layer for a few rows, which share each load of weights.
//
//   y[r][o] = sum over sections of (sum over elements e of a section of x[r][e] * w[o][e]) +
//   bias[o]
//
// A section is kFdenseSection elements; products are added to its sum, and sums to the whole, one
// after the other, each with a rounding of its own: the same bits on every instruction set and for
// any number of rows.
//
// Weights: [blocks of 64 channels][elements][64], zeros past the last channel (PackFdenseWeights).
// Bound by the bytes of the weights: for one row by the cache or memory that they come from.
//
// Reads no other floats than these, writes `channels` a row. Reentrant;
// allocates nothing. Outputs overlap no input.
#pragma once

#include <stdint.h>

namespace bitmill {

inline constexpr int64_t kFdenseRows = 4;
inline constexpr int64_t kFdenseBlock = 64;
inline constexpr int64_t kFdenseSection = 256;

struct FdenseArgs {
  const float* const* inputs;  // [rows]
  float* const* outputs;       // [rows]
  int32_t rows;                // 1 to kFdenseRows
  int64_t elements, channels;
  const float* weights;
  const float* bias;  // null: none
};

using FdenseFn = void (*)(const FdenseArgs& args);

}  // namespace bitmill
