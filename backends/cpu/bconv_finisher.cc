#include "backends/cpu/bconv_finisher.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kUnit = 16;

bool SameMap(const Operand& a, const Operand& b) {
  return a.layout.storage == Storage::kPixelFloat && b.layout.storage == Storage::kPixelFloat &&
         a.offset_bytes == 0 && b.offset_bytes == 0 &&
         a.layout.image_bytes == b.layout.image_bytes && a.layout.row_bytes == b.layout.row_bytes &&
         a.layout.pixel_bytes == b.layout.pixel_bytes;
}

}  // namespace

bool BconvFinisher::Absorb(const Operand& output, const CompiledChain& chain, const LineStep& next,
                           bool last) {
  if (!begun_) {
    begun_ = true;
    output_ = output;
    ended_ = !AddChain(chain);
  }
  if (ended_) return false;
  const ElementWork work = next.element_work();
  bool taken = false;
  if (const auto* const sum = std::get_if<SumWork>(&work)) {
    taken = AddSum(*sum, last);
  } else if (const auto* const more = std::get_if<ChainWork>(&work)) {
    taken = more->input->buffer == output_.buffer && more->output->buffer == output_.buffer &&
            AddChain(*more->chain);
  } else if (const auto* const signs = std::get_if<SignWork>(&work)) {
    taken = AddSigns(*signs);
  }
  if (taken) steps_.push_back(&next);
  return taken;
}

bool BconvFinisher::AddChain(const CompiledChain& chain) {
  std::optional<std::vector<CompiledChain::ChannelOp>> more = chain.ByChannel();
  if (!more || ops_.size() + more->size() > kMaxOps ||
      !std::all_of(more->begin(), more->end(),
                   [](const auto& op) { return BconvFinishTakes(op.op); })) {
    return false;
  }
  std::move(more->begin(), more->end(), std::back_inserter(ops_));
  return true;
}

bool BconvFinisher::AddSum(const SumWork& work, bool last) {
  const bool first = work.a->buffer == output_.buffer;
  const Operand& map = first ? *work.b : *work.a;
  if (sum_ != kMaxOps || ops_.size() == kMaxOps || (!first && work.b->buffer != output_.buffer) ||
      map.buffer == output_.buffer || !SameMap(map, output_) || !SameMap(*work.output, output_) ||
      (work.output->buffer != output_.buffer && !last)) {
    return false;
  }
  sum_ = ops_.size();
  ops_.emplace_back();
  map_ = map;
  output_ = *work.output;
  return true;
}

bool BconvFinisher::AddSigns(const SignWork& work) {
  if (work.input->buffer != output_.buffer || work.output->layout.storage != Storage::kBits) {
    return false;
  }
  const int64_t channels = output_.layout.channels, units = (channels + kUnit - 1) / kUnit;
  thresholds_.assign(static_cast<size_t>(units * kUnit), 0.0F);
  inverted_.assign(static_cast<size_t>(units), 0);
  const auto pick = [](const auto& values, size_t c) { return values[values.size() == 1 ? 0 : c]; };
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
    thresholds_[c] = pick(work.thresholds, c);
    const bool inverted = !work.inverted.empty() && pick(work.inverted, c) != 0;
    if (inverted) inverted_[c / kUnit] |= static_cast<uint16_t>(1U << (c % kUnit));
  }
  signs_ = *work.output;
  ended_ = true;
  return true;
}

bool BconvFinisher::RunLines(
    const StepRun& run, const Lines& lines,
    absl::FunctionRef<bool(const BconvFinish& finish, float* to)> call) const {
  if (steps_.empty()) return false;
  const auto place = [&](const Operand& operand) {
    return operand.Base(run) + lines.row * operand.layout.image_bytes +
           operand.layout.interior_bytes + lines.first * operand.layout.row_bytes;
  };
  std::array<BconvFinishOp, kMaxOps> ops = {};
  for (size_t i = 0; i < ops_.size(); ++i) {
    ops[i] = {ops_[i].op, ops_[i].a.empty() ? nullptr : ops_[i].a.data(),
              ops_[i].b.empty() ? nullptr : ops_[i].b.data(), nullptr};
  }
  if (sum_ != kMaxOps) ops[sum_].map = reinterpret_cast<const float*>(place(map_));
  BconvFinish finish = {};
  finish.ops = ops.data();
  finish.count = static_cast<int32_t>(ops_.size());
  if (signs_.buffer >= 0) {
    finish.signs = reinterpret_cast<uint8_t*>(place(signs_));
    finish.sign_image = signs_.layout.image_bytes;
    finish.sign_row = signs_.layout.row_bytes;
    finish.sign_pixel = signs_.layout.pixel_bytes;
    finish.thresholds = thresholds_.data();
    finish.inverted = inverted_.data();
  }
  return call(finish, reinterpret_cast<float*>(place(output_)));
}

absl::Status BconvFinisher::RunSteps(const StepRun& run, const Lines& lines) const {
  for (const LineStep* step : steps_) {
    BITMILL_RETURN_IF_ERROR(step->RunLines(run, lines.row, lines.first, lines.count));
  }
  return absl::OkStatus();
}

}  // namespace bitmill
