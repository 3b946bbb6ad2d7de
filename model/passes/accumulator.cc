#include "model/passes/accumulator.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "model/passes/thresholds.h"

namespace bitmill {

int64_t LargestMagnitude(const CodeInfo& info) {
  if (info.kind == CodeKind::kBits) return 1;
  return std::max<int64_t>(std::abs(int64_t{info.zero_point}),
                           std::abs(int64_t{info.levels} - 1 - info.zero_point));
}

AccumulatorRange RangeOf(const LowBitConvOp& op, const CodeInfo& input) {
  const Shape& shape = op.weights->shape();
  const absl::Span<const int8_t> weights = op.weights->span<int8_t>();
  const size_t row = weights.size() / static_cast<size_t>(shape[0]);
  const int64_t magnitude = LargestMagnitude(input);
  AccumulatorRange range;
  for (size_t o = 0; o < static_cast<size_t>(shape[0]); ++o) {
    int64_t sum = 0;
    for (const int8_t w : weights.subspan(o * row, row)) sum += std::abs(int{w});
    range.bound.push_back(static_cast<int32_t>(
        std::min<int64_t>(sum * magnitude, std::numeric_limits<int32_t>::max() - 1)));
  }
  const bool padded =
      op.pad_top != 0 || op.pad_left != 0 || op.pad_bottom != 0 || op.pad_right != 0;
  // A sum of a fixed number of +1 and -1 is as even as that number.
  if (input.kind == CodeKind::kBits && op.weight_bits == 1 &&
      !(padded && op.padding == Padding::kZero)) {
    range.parity = static_cast<int32_t>(row % 2);
  }
  return range;
}

Chain ChainOnAccumulator(const LowBitConvOp& op) {
  Chain chain;
  if (std::any_of(op.scale.begin(), op.scale.end(), [](float s) { return s != 1.0F; })) {
    chain.push_back({ChainOp::kMul, op.scale, {}});
  }
  if (std::any_of(op.bias.begin(), op.bias.end(), [](float b) { return b != 0.0F; })) {
    chain.push_back({ChainOp::kAdd, op.bias, {}});
  }
  chain.insert(chain.end(), op.chain.begin(), op.chain.end());
  return chain;
}

bool NeverZero(const LowBitConvOp& op, const CodeInfo& input, const Chain& after) {
  Chain chain = ChainOnAccumulator(op);
  chain.insert(chain.end(), after.begin(), after.end());
  const AccumulatorRange range = RangeOf(op, input);
  for (size_t o = 0; o < range.bound.size(); ++o) {
    const auto channel = static_cast<int64_t>(o);
    const Monotonicity shape = ChainMonotonicity(chain, channel);
    if (!shape.monotone) return false;
    const int32_t bound = range.bound[o];
    const int32_t sign = shape.direction < 0 ? -1 : 1;
    const auto at = [&](int32_t acc) {
      return EvaluateChain(chain, static_cast<float>(sign * acc), channel);
    };
    const int64_t first = std::max<int64_t>(
        -bound, SmallestIntWhere(-bound, bound, [&](int32_t acc) { return at(acc) >= 0.0F; }));
    const int64_t past = std::min<int64_t>(
        int64_t{bound} + 1,
        SmallestIntWhere(-bound, bound, [&](int32_t acc) { return at(acc) > 0.0F; }));
    for (int64_t acc = first; acc < past; ++acc) {
      if (!range.parity || std::abs(acc) % 2 == *range.parity) return false;
    }
  }
  return true;
}

}  // namespace bitmill
