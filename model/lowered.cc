#include "model/lowered.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

float Operand(const std::vector<float>& operand, int64_t channel) {
  return operand.size() == 1 ? operand[0] : operand[static_cast<size_t>(channel)];
}

// That a step of the chain has.
int OperandsOf(ChainOp op) {
  switch (op) {
    case ChainOp::kClip:
      return 2;
    case ChainOp::kAdd:
    case ChainOp::kSub:
    case ChainOp::kMul:
    case ChainOp::kDiv:
    case ChainOp::kReverseSub:
    case ChainOp::kReverseDiv:
    case ChainOp::kPow:
    case ChainOp::kLeakyRelu:
      return 1;
    case ChainOp::kRelu:
    case ChainOp::kFloor:
    case ChainOp::kCeil:
    case ChainOp::kRound:
    case ChainOp::kSigmoid:
    case ChainOp::kTanh:
    case ChainOp::kHardTanh:
    case ChainOp::kSqrt:
    case ChainOp::kExp:
    case ChainOp::kLog:
    case ChainOp::kAbs:
    case ChainOp::kNeg:
      break;
  }
  return 0;
}

bool IsOddInteger(float x) { return std::fmod(std::fabs(x), 2.0F) == 1.0F; }

// How one step acts on the interval [low, high] of its input: the sign of its slope there, 0 for a
// constant, or nothing when it is not monotone or may give NaN.
struct StepSlope {
  bool monotone = false;
  int slope = 0;
};

constexpr StepSlope kNotMonotone{false, 0};

int Sign(float x) { return (x > 0.0F) - (x < 0.0F); }

StepSlope PowSlope(float exponent, float low) {
  if (!std::isfinite(exponent)) return kNotMonotone;
  if (exponent == 0.0F) return {true, 0};
  if (exponent > 0.0F && (low >= 0.0F || IsOddInteger(exponent))) return {true, 1};
  if (exponent < 0.0F && low > 0.0F) return {true, -1};
  return kNotMonotone;
}

StepSlope SlopeOf(const ChainStep& step, float low, float high, int64_t channel) {
  const float operand = step.operand.empty() ? 0.0F : Operand(step.operand, channel);
  const bool finite = std::isfinite(operand);
  switch (step.op) {
    case ChainOp::kAdd:
    case ChainOp::kSub:
      return finite ? StepSlope{true, 1} : kNotMonotone;
    case ChainOp::kReverseSub:
      return finite ? StepSlope{true, -1} : kNotMonotone;
    case ChainOp::kMul:
      return finite ? StepSlope{true, Sign(operand)} : kNotMonotone;
    case ChainOp::kDiv:
      return finite && operand != 0.0F ? StepSlope{true, Sign(operand)} : kNotMonotone;
    case ChainOp::kReverseDiv:
      return finite && (low > 0.0F || high < 0.0F) ? StepSlope{true, -Sign(operand)} : kNotMonotone;
    case ChainOp::kPow:
      return PowSlope(operand, low);
    case ChainOp::kClip: {
      const float upper = Operand(step.operand2, channel);
      return std::isnan(operand) || std::isnan(upper) ? kNotMonotone : StepSlope{true, 1};
    }
    case ChainOp::kLeakyRelu:
      if (!finite) return kNotMonotone;
      if (operand >= 0.0F || low >= 0.0F) return {true, 1};
      return high <= 0.0F ? StepSlope{true, -1} : kNotMonotone;
    case ChainOp::kSqrt:
    case ChainOp::kLog:
      return low >= 0.0F ? StepSlope{true, 1} : kNotMonotone;
    case ChainOp::kAbs:
      if (low >= 0.0F) return {true, 1};
      return high <= 0.0F ? StepSlope{true, -1} : kNotMonotone;
    case ChainOp::kNeg:
      return {true, -1};
    case ChainOp::kRelu:
    case ChainOp::kFloor:
    case ChainOp::kCeil:
    case ChainOp::kRound:
    case ChainOp::kSigmoid:
    case ChainOp::kTanh:
    case ChainOp::kHardTanh:
    case ChainOp::kExp:
      return {true, 1};
  }
  return kNotMonotone;
}

float RoundAs(Rounding rounding, float x) {
  switch (rounding) {
    case Rounding::kHalfEven:
      return std::nearbyint(x);
    case Rounding::kFloor:
      return std::floor(x);
    case Rounding::kCeil:
      return std::ceil(x);
    case Rounding::kTowardZero:
      return std::trunc(x);
  }
  return x;
}

}  // namespace

float EvaluateChainStep(const ChainStep& step, float x, int64_t channel) {
  const float operand = step.operand.empty() ? 0.0F : Operand(step.operand, channel);
  switch (step.op) {
    case ChainOp::kAdd:
      return x + operand;
    case ChainOp::kSub:
      return x - operand;
    case ChainOp::kMul:
      return x * operand;
    case ChainOp::kDiv:
      return x / operand;
    case ChainOp::kReverseSub:
      return operand - x;
    case ChainOp::kReverseDiv:
      return operand / x;
    case ChainOp::kPow:
      return std::pow(x, operand);
    case ChainOp::kClip: {
      const float raised = x < operand ? operand : x;
      const float upper = Operand(step.operand2, channel);
      return raised > upper ? upper : raised;
    }
    case ChainOp::kRelu:
      return x < 0.0F ? 0.0F : x;
    case ChainOp::kLeakyRelu:
      return x < 0.0F ? operand * x : x;
    case ChainOp::kFloor:
      return std::floor(x);
    case ChainOp::kCeil:
      return std::ceil(x);
    case ChainOp::kRound:
      return std::nearbyint(x);
    case ChainOp::kSigmoid:
      return 1.0F / (1.0F + std::exp(-x));
    case ChainOp::kTanh:
      return std::tanh(x);
    case ChainOp::kHardTanh:
      return x < -1.0F ? -1.0F : (x > 1.0F ? 1.0F : x);
    case ChainOp::kSqrt:
      return std::sqrt(x);
    case ChainOp::kExp:
      return std::exp(x);
    case ChainOp::kLog:
      return std::log(x);
    case ChainOp::kAbs:
      return std::fabs(x);
    case ChainOp::kNeg:
      return -x;
  }
  return x;
}

absl::Status CheckChain(const Chain& chain, int64_t channels) {
  for (const ChainStep& step : chain) {
    const int operands = OperandsOf(step.op);
    for (const auto& [operand, is_due] :
         {std::pair{&step.operand, operands > 0}, std::pair{&step.operand2, operands > 1}}) {
      const auto size = static_cast<int64_t>(operand->size());
      if (is_due ? size == 1 || (size > 0 && size == channels) : size == 0) continue;
      return absl::InternalError(absl::StrCat("a chain operand has ", size, " values for ",
                                              is_due ? channels : 0, " channels"));
    }
  }
  return absl::OkStatus();
}

float EvaluateChain(const Chain& chain, float x, int64_t channel) {
  for (const ChainStep& step : chain) x = EvaluateChainStep(step, x, channel);
  return x;
}

Monotonicity ChainMonotonicity(const Chain& chain, int64_t channel) {
  // The interval that values can lie in so far tells, for example, that a square root follows a
  // Relu; its ends are images of the ends, since every step so far is monotone.
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  int direction = 1;
  for (const ChainStep& step : chain) {
    const StepSlope slope = SlopeOf(step, low, high, channel);
    if (!slope.monotone) return {};
    direction *= slope.slope;
    if (slope.slope == 0) {
      low = high = EvaluateChainStep(step, 1.0F, channel);
      continue;
    }
    const float first = EvaluateChainStep(step, low, channel);
    const float last = EvaluateChainStep(step, high, channel);
    if (std::isnan(first) || std::isnan(last)) return {};
    low = std::min(first, last);
    high = std::max(first, last);
    if (low == high) direction = 0;
  }
  return {true, direction};
}

int32_t EvaluateQuantizer(const Quantizer& quantizer, float x) {
  if (quantizer.code.kind == CodeKind::kBits) return x >= 0.0F ? 0 : 1;
  const float top = static_cast<float>(quantizer.code.levels - 1);
  float code = x / quantizer.code.scale + quantizer.offset;
  if (std::isnan(code)) return 0;
  if (quantizer.clamp_first) code = std::clamp(code, 0.0F, top);
  code = RoundAs(quantizer.rounding, code);
  return static_cast<int32_t>(std::clamp(code, 0.0F, top));
}

}  // namespace bitmill
