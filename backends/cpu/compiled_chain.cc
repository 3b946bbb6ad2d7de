#include "backends/cpu/compiled_chain.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kBlockElements = 2048;  // 8 KiB: source and destination stay in L1
constexpr int64_t kTileElements = 512;    // long enough that starting a loop does not count

std::optional<FmapOp> FmapOpOf(ChainOp op) {
  switch (op) {
    case ChainOp::kAdd:
      return FmapOp::kAdd;
    case ChainOp::kSub:
      return FmapOp::kSub;
    case ChainOp::kMul:
      return FmapOp::kMul;
    case ChainOp::kDiv:
      return FmapOp::kDiv;
    case ChainOp::kReverseSub:
      return FmapOp::kReverseSub;
    case ChainOp::kReverseDiv:
      return FmapOp::kReverseDiv;
    case ChainOp::kClip:
      return FmapOp::kClip;
    case ChainOp::kRelu:
      return FmapOp::kRelu;
    case ChainOp::kLeakyRelu:
      return FmapOp::kLeakyRelu;
    case ChainOp::kFloor:
      return FmapOp::kFloor;
    case ChainOp::kCeil:
      return FmapOp::kCeil;
    case ChainOp::kRound:
      return FmapOp::kRound;
    case ChainOp::kHardTanh:
      return FmapOp::kHardTanh;
    case ChainOp::kSqrt:
      return FmapOp::kSqrt;
    case ChainOp::kAbs:
      return FmapOp::kAbs;
    case ChainOp::kNeg:
      return FmapOp::kNeg;
    case ChainOp::kPow:
    case ChainOp::kSigmoid:
    case ChainOp::kTanh:
    case ChainOp::kExp:
    case ChainOp::kLog:
      break;  // the C library's
  }
  return std::nullopt;
}

// Functions of the C library, which must give the same on every instruction set.
void ApplyLibrary(ChainOp op, const FmapArgs& args) {
  for (int64_t i = 0; i < args.count; ++i) {
    const float x = args.src[i];
    float& y = args.dst[i];
    switch (op) {
      case ChainOp::kPow:
        y = std::pow(x, args.a[args.each_a ? i : 0]);
        break;
      case ChainOp::kSigmoid:
        y = 1.0F / (1.0F + std::exp(-x));
        break;
      case ChainOp::kTanh:
        y = std::tanh(x);
        break;
      case ChainOp::kExp:
        y = std::exp(x);
        break;
      default:
        y = std::log(x);
        break;
    }
  }
}

// One value a channel, again and again over `tile` elements; one value for all stays one.
std::vector<float> Tiled(const std::vector<float>& operand, int64_t tile) {
  if (operand.size() <= 1) return operand;
  std::vector<float> tiled;
  tiled.reserve(static_cast<size_t>(tile));
  while (static_cast<int64_t>(tiled.size()) < tile) {
    tiled.insert(tiled.end(), operand.begin(), operand.end());
  }
  return tiled;
}

}  // namespace

absl::StatusOr<CompiledChain> CompiledChain::Make(const Chain& chain, int64_t channels,
                                                  const FmapKernel& kernel) {
  BITMILL_RETURN_IF_ERROR(CheckChain(chain, channels));
  CompiledChain result;
  result.kernel_ = &kernel;
  result.channels_ = channels;
  result.tile_ = channels * std::max<int64_t>(1, kTileElements / std::max<int64_t>(1, channels));
  for (const ChainStep& step : chain) {
    for (const std::vector<float>* operand : {&step.operand, &step.operand2}) {
      if (operand->size() > 1) result.per_channel_ = true;
    }
    result.steps_.push_back(
        {step.op, Tiled(step.operand, result.tile_), Tiled(step.operand2, result.tile_)});
  }
  return result;
}

int64_t CompiledChain::table_bytes() const {
  size_t values = 0;
  for (const CompiledStep& step : steps_) values += step.a.size() + step.b.size();
  return static_cast<int64_t>(values * sizeof(float));
}

std::optional<std::vector<CompiledChain::ChannelOp>> CompiledChain::ByChannel() const {
  constexpr int64_t kUnit = 16;
  const auto expand = [&](const std::vector<float>& tiled) {
    std::vector<float> operand;
    if (tiled.empty()) return operand;
    operand.assign(static_cast<size_t>((channels_ + kUnit - 1) / kUnit * kUnit), 0.0F);
    for (size_t c = 0; c < static_cast<size_t>(channels_); ++c) {
      operand[c] = tiled[tiled.size() == 1 ? 0 : c];
    }
    return operand;
  };
  std::vector<ChannelOp> ops;
  for (const CompiledStep& step : steps_) {
    const std::optional<FmapOp> op = FmapOpOf(step.op);
    if (!op) return std::nullopt;
    ops.push_back({*op, expand(step.a), expand(step.b)});
  }
  return ops;
}

void CompiledChain::Apply(const CompiledStep& step, FmapArgs args) const {
  if (const std::optional<FmapOp> op = FmapOpOf(step.op)) {
    args.op = *op;
    kernel_->run(args);
    return;
  }
  ApplyLibrary(step.op, args);
}

void CompiledChain::RunChannel(const float* src, float* dst, int64_t count, int64_t channel) const {
  const auto pick = [&](const std::vector<float>& values) {
    if (values.empty()) return static_cast<const float*>(nullptr);
    return values.data() + (values.size() == 1 ? 0 : channel);
  };
  for (int64_t begin = 0; begin < count; begin += kBlockElements) {
    FmapArgs args{};
    args.src = src + begin;
    args.dst = dst + begin;
    args.count = std::min(kBlockElements, count - begin);
    for (const CompiledStep& step : steps_) {
      args.a = pick(step.a);
      args.b = pick(step.b);
      Apply(step, args);
      args.src = args.dst;
    }
  }
}

void CompiledChain::RunPixels(const float* src, float* dst, int64_t count) const {
  FmapArgs args{};
  args.src = src;
  args.dst = dst;
  args.count = count;
  for (const CompiledStep& step : steps_) {
    args.each_a = step.a.size() > 1;
    args.each_b = step.b.size() > 1;
    args.a = step.a.empty() ? nullptr : step.a.data();
    args.b = step.b.empty() ? nullptr : step.b.data();
    Apply(step, args);
    args.src = dst;
  }
}

void CompiledChain::RunPlanar(const float* src, float* dst, int64_t inner) const {
  if (steps_.empty()) {
    if (src != dst) std::memcpy(dst, src, static_cast<size_t>(channels_ * inner) * sizeof(float));
  } else if (!per_channel_) {
    RunChannel(src, dst, channels_ * inner, 0);
  } else if (inner == 1) {
    RunPixels(src, dst, channels_);
  } else {
    for (int64_t c = 0; c < channels_; ++c) RunChannel(src + c * inner, dst + c * inner, inner, c);
  }
}

void CompiledChain::RunInterleaved(float* data, int64_t pixels, int64_t stride) const {
  if (steps_.empty()) return;
  if (stride != channels_) {
    for (int64_t p = 0; p < pixels; ++p) RunPixels(data + p * stride, data + p * stride, channels_);
    return;
  }
  const int64_t count = pixels * stride;
  if (!per_channel_) return RunChannel(data, data, count, 0);
  for (int64_t begin = 0; begin < count; begin += tile_) {
    RunPixels(data + begin, data + begin, std::min(tile_, count - begin));
  }
}

}  // namespace bitmill
