#include "model/passes/affine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace bitmill {
namespace {

double Operand(const std::vector<float>& operand, int64_t channel) {
  if (operand.empty()) return 0.0;
  return operand.size() == 1 ? operand[0] : operand[static_cast<size_t>(channel)];
}

// The map y -> a * y + b of one step.
bool StepMap(const ChainStep& step, int64_t channel, Affine* map) {
  const double operand = Operand(step.operand, channel);
  if (!std::isfinite(operand)) return false;
  switch (step.op) {
    case ChainOp::kAdd:
      *map = {1.0, operand};
      return true;
    case ChainOp::kSub:
      *map = {1.0, -operand};
      return true;
    case ChainOp::kReverseSub:
      *map = {-1.0, operand};
      return true;
    case ChainOp::kMul:
      *map = {operand, 0.0};
      return true;
    case ChainOp::kDiv:
      *map = {1.0 / operand, 0.0};
      return operand != 0.0;
    case ChainOp::kNeg:
      *map = {-1.0, 0.0};
      return true;
    default:
      return false;
  }
}

bool ClampOf(const ChainStep& step, int64_t channel, double* low, double* high) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (step.op) {
    case ChainOp::kRelu:
      *low = 0.0;
      *high = kInfinity;
      return true;
    case ChainOp::kHardTanh:
      *low = -1.0;
      *high = 1.0;
      return true;
    case ChainOp::kClip:
      *low = Operand(step.operand, channel);
      *high = Operand(step.operand2, channel);
      return *low <= *high;
    default:
      return false;
  }
}

// The first `count` steps, for every channel; empty if one of them is neither affine nor a clamp,
// or makes a channel constant.
std::vector<ClampedAffine> FoldClamped(const Chain& chain, size_t count, int64_t channels) {
  const Chain steps(chain.begin(), chain.begin() + static_cast<ptrdiff_t>(count));
  std::vector<ClampedAffine> folded(static_cast<size_t>(channels));
  for (int64_t c = 0; c < channels; ++c) {
    if (!FoldClampedAffine(steps, c, &folded[static_cast<size_t>(c)])) return {};
  }
  return folded;
}

bool IsClamp(ChainOp op) {
  return op == ChainOp::kRelu || op == ChainOp::kHardTanh || op == ChainOp::kClip;
}

// How many steps clamps and affine maps in turn make up, from the beginning on: those up to the
// last one that gains by being folded. 0: there is none.
size_t ClampedSteps(const Chain& chain, size_t affine, int64_t channels) {
  size_t taken = 0;
  for (size_t count = affine + 1; count <= chain.size(); ++count) {
    if (FoldClamped(chain, count, channels).empty()) break;
    // A clamp alone stays what it is.
    if (!IsClamp(chain[count - 1].op) || taken > 0) taken = count;
  }
  return taken;
}

// Channels that the operands tell apart; 1 if none does.
int64_t OperandChannels(const Chain& chain) {
  size_t channels = 1;
  for (const ChainStep& step : chain) channels = std::max(channels, step.operand.size());
  return static_cast<int64_t>(channels);
}

// How many steps from `begin` on are affine.
size_t AffineRun(const Chain& chain, size_t begin) {
  return AffinePrefix(Chain(chain.begin() + static_cast<ptrdiff_t>(begin), chain.end()),
                      OperandChannels(chain));
}

// Affine steps as a product and a sum, or one of them; nothing where that gains nothing, or a
// factor is no float.
std::optional<Chain> ProductAndSum(const Chain& run) {
  ChainStep product = {ChainOp::kMul, {}, {}}, sum = {ChainOp::kAdd, {}, {}};
  for (int64_t c = 0; c < OperandChannels(run); ++c) {
    Affine map;
    for (const ChainStep& step : run) AppendAffine(step, c, map);
    product.operand.push_back(static_cast<float>(map.a));
    sum.operand.push_back(static_cast<float>(map.b));
    if (!std::isfinite(product.operand.back()) || !std::isfinite(sum.operand.back())) return {};
  }
  const auto all = [](const ChainStep& step, float value) {
    return std::all_of(step.operand.begin(), step.operand.end(),
                       [&](float operand) { return operand == value; });
  };
  Chain shorter;
  if (!all(product, 1.0F)) shorter.push_back(std::move(product));
  if (!all(sum, 0.0F)) shorter.push_back(std::move(sum));
  const bool divides = std::any_of(run.begin(), run.end(),
                                   [](const ChainStep& step) { return step.op == ChainOp::kDiv; });
  if (shorter.size() > run.size() || (shorter.size() == run.size() && !divides)) return {};
  return shorter;
}

}  // namespace

bool AppendAffine(const ChainStep& step, int64_t channel, Affine& map) {
  Affine next;
  if (!StepMap(step, channel, &next)) return false;
  map = {map.a * next.a, map.b * next.a + next.b};
  return true;
}

size_t AffinePrefix(const Chain& chain, int64_t channels) {
  size_t steps = 0;
  for (; steps < chain.size(); ++steps) {
    for (int64_t c = 0; c < channels; ++c) {
      Affine ignored;
      if (!AppendAffine(chain[steps], c, ignored)) return steps;
    }
  }
  return steps;
}

bool FoldClampedAffine(const Chain& chain, int64_t channel, ClampedAffine* result) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  ClampedAffine folded{{}, -kInfinity, kInfinity};
  for (const ChainStep& step : chain) {
    Affine next;
    double low = 0.0;
    double high = 0.0;
    if (StepMap(step, channel, &next)) {
      if (next.a == 0.0) return false;  // a constant; thresholds say that exactly
      folded.map = {folded.map.a * next.a, folded.map.b * next.a + next.b};
      folded.low = folded.low * next.a + next.b;
      folded.high = folded.high * next.a + next.b;
      if (next.a < 0.0) std::swap(folded.low, folded.high);
    } else if (ClampOf(step, channel, &low, &high)) {
      folded.low = std::clamp(folded.low, low, high);
      folded.high = std::clamp(folded.high, low, high);
    } else {
      return false;
    }
  }
  *result = folded;
  return true;
}

FoldedChain FoldIntoLayer(const Chain& chain, int64_t channels) {
  FoldedChain folded;
  const size_t affine = AffinePrefix(chain, channels);
  size_t steps = ClampedSteps(chain, affine, channels);
  if (steps == 0) {
    steps = affine;
    folded.maps.resize(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) {
      Affine& map = folded.maps[static_cast<size_t>(c)];
      for (size_t i = 0; i < steps; ++i) AppendAffine(chain[i], c, map);
    }
  } else {
    ChainStep clip = {ChainOp::kClip, {}, {}};
    for (const ClampedAffine& channel : FoldClamped(chain, steps, channels)) {
      folded.maps.push_back(channel.map);
      clip.operand.push_back(static_cast<float>(channel.low));
      clip.operand2.push_back(static_cast<float>(channel.high));
    }
    folded.rest.push_back(std::move(clip));
  }
  const Chain behind =
      JoinAffineSteps(Chain(chain.begin() + static_cast<ptrdiff_t>(steps), chain.end()));
  folded.rest.insert(folded.rest.end(), behind.begin(), behind.end());
  return folded;
}

Chain JoinAffineSteps(const Chain& chain) {
  Chain joined;
  for (size_t begin = 0; begin < chain.size();) {
    const size_t count = AffineRun(chain, begin);
    const auto first = chain.begin() + static_cast<ptrdiff_t>(begin);
    const Chain run(first, first + static_cast<ptrdiff_t>(std::max<size_t>(count, 1)));
    const std::optional<Chain> shorter = count > 1 ? ProductAndSum(run) : std::nullopt;
    const Chain& taken = shorter.has_value() ? *shorter : run;
    joined.insert(joined.end(), taken.begin(), taken.end());
    begin += run.size();
  }
  return joined;
}

}  // namespace bitmill
