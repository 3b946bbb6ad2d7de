// The integers that a low-bit convolution accumulates, and what its epilogue makes of them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/graph.h"

namespace bitmill {

// acc of every output channel lies in [-bound, bound].
struct AccumulatorRange {
  std::vector<int32_t> bound;
  // 0 or 1 when all accumulators are even, or all odd; nothing when they may be either.
  std::optional<int32_t> parity;
};
AccumulatorRange RangeOf(const LowBitConvOp& op, const CodeInfo& input);

// The largest |code - zero_point|, 1 for bits.
int64_t LargestMagnitude(const CodeInfo& info);

// Scale, bias and chain of a float epilogue as one chain on float(acc). Steps that change nothing
// are left out.
Chain ChainOnAccumulator(const LowBitConvOp& op);

// Whether chain(acc), of the convolution's output and then of `after`, is zero for no accumulator
// that can occur: then Sign has two values only. False when that cannot be told.
bool NeverZero(const LowBitConvOp& op, const CodeInfo& input, const Chain& after);

}  // namespace bitmill
