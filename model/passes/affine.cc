#include "model/passes/affine.h"

#include <algorithm>
#include <cmath>
#include <limits>
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

}  // namespace bitmill
