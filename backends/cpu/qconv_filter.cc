#include "backends/cpu/qconv_filter.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxWeightBytes = int64_t{1} << 30;

struct WeightRange {
  int low, high;
};

WeightRange RangeOf(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return {-1, 1};
    case QconvWeights::k2Bit:
      return {-2, 1};
    case QconvWeights::k4Bit:
      return {-8, 7};
    case QconvWeights::k8Bit:
      return {-128, 127};
  }
  return {0, 0};
}

QconvWeights KindOf(int weight_bits, bool needs_zero) {
  if (weight_bits <= 1 && !needs_zero) return QconvWeights::k1Bit;
  if (weight_bits <= 2) return QconvWeights::k2Bit;
  return weight_bits <= 4 ? QconvWeights::k4Bit : QconvWeights::k8Bit;
}

// Turns channels with a flipped comparison around by negating their weights; a channel with a
// weight whose negation does not fit keeps its sign and is left to the epilogue (`late` set).
void NegateWeights(const LowBitConvOp& op, const WeightRange& range, const GroupSplit& split,
                   int64_t first, int64_t per_output, std::vector<int8_t>& weights,
                   std::vector<uint8_t>& late) {
  if (op.flip.empty()) return;
  for (int64_t o = 0; o < split.outputs; ++o) {
    const auto channel = static_cast<size_t>(first + o);
    if (op.flip[channel] == 0) continue;
    const auto row = absl::MakeSpan(weights).subspan(static_cast<size_t>(o * per_output),
                                                     static_cast<size_t>(per_output));
    const bool fits = std::all_of(row.begin(), row.end(),
                                  [&](int8_t w) { return -w >= range.low && -w <= range.high; });
    if (!fits) {
      late[channel] = 1;
      continue;
    }
    for (int8_t& w : row) w = static_cast<int8_t>(-w);
  }
}

// How the kernel sees a filter: runs of channels, one for each tap; or, on tight codes, one run for
// each line of the window, or one of whole lines and then of their ends.
struct FilterRuns {
  int64_t channels = 0;  // of a run; a multiple of 4 on tight codes
  int64_t taps = 0;
  bool tight = false;
  LineEnds ends;
};

FilterRuns RunsOf(const ConvWindow& window, const GroupSplit& split, bool tight,
                  const LineEnds& ends) {
  if (!tight) return {split.channels, window.taps(), false, {}};
  if (ends.end_steps > 0) return {ends.steps(window) * 4, 1, true, ends};
  return {(split.channels * window.kernel_w + 3) / 4 * 4, window.kernel_h, true, {}};
}

// w[o][c][kh][kw] -> w[o][byte of a run][run], zero behind.
std::vector<int8_t> JoinLines(const std::vector<int8_t>& weights, const ConvWindow& window,
                              const FilterRuns& runs) {
  const int64_t channels = window.in_channels;
  std::vector<int8_t> joined(static_cast<size_t>(window.out_channels * runs.channels * runs.taps));
  size_t from = 0;
  for (int64_t o = 0; o < window.out_channels; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t y = 0; y < window.kernel_h; ++y) {
        for (int64_t x = 0; x < window.kernel_w; ++x) {
          const int64_t byte = x * channels + c;
          const int64_t at =
              runs.ends.end_steps > 0 ? runs.ends.Place(window, y, byte) : byte * runs.taps + y;
          joined[static_cast<size_t>(o * runs.channels * runs.taps + at)] = weights[from++];
        }
      }
    }
  }
  return joined;
}

// What is kept of the weights besides themselves lies behind them: base, late_flip and ternary.
struct PackedSizes {
  int64_t weights, base, late_flip;  // elements

  int64_t base_at() const { return (weights + 63) / 64 * 64; }
  int64_t late_flip_at() const { return base_at() + base * int64_t{sizeof(int32_t)}; }
  int64_t bytes() const { return late_flip_at() + late_flip + 1; }

  void Store(const QconvFilter& filter, std::byte* to) const {
    std::copy(filter.base.begin(), filter.base.end(), reinterpret_cast<int32_t*>(to + base_at()));
    auto* const flips = reinterpret_cast<uint8_t*>(to + late_flip_at());
    std::copy(filter.late_flip.begin(), filter.late_flip.end(), flips);
    flips[late_flip] = filter.ternary ? 1 : 0;
  }
  void Load(const std::byte* from, QconvFilter& filter) const {
    const auto* const bases = reinterpret_cast<const int32_t*>(from + base_at());
    filter.base.assign(bases, bases + base);
    const auto* const flips = reinterpret_cast<const uint8_t*>(from + late_flip_at());
    filter.late_flip.assign(flips, flips + late_flip);
    filter.ternary = flips[late_flip] != 0;
  }
};

// Checks the weights of one call and fills in its part of the base.
absl::Status FillBase(const LowBitConvOp& op, const std::vector<int8_t>& weights,
                      const GroupSplit& split, int64_t call, int32_t zero_point, int32_t levels,
                      QconvFilter& filter) {
  const WeightRange range = RangeOf(filter.kind);
  const auto per_output = static_cast<int64_t>(weights.size()) / split.outputs;
  const int64_t padded = (split.outputs + 7) / 8 * 8;
  for (int64_t o = 0; o < split.outputs; ++o) {
    const int64_t channel = call * split.outputs + o;
    int64_t sum = 0, magnitude = 0;
    for (int64_t i = o * per_output; i < (o + 1) * per_output; ++i) {
      const int8_t w = weights[static_cast<size_t>(i)];
      const bool zero_as_bit = filter.kind == QconvWeights::k1Bit && w == 0;
      if (w < range.low || w > range.high || zero_as_bit) {
        return absl::InternalError(absl::StrCat("weight ", int{w}, " of output channel ", channel,
                                                " does not fit ", op.weight_bits, " bits"));
      }
      filter.ternary = filter.ternary && w >= -1;
      sum += w;
      magnitude += w < 0 ? -w : w;
    }
    const int64_t offset = -int64_t{zero_point} * sum;
    if (magnitude * levels + std::abs(offset) > std::numeric_limits<int32_t>::max()) {
      return absl::UnimplementedError(
          absl::StrCat("the sums of output channel ", channel, " may exceed 32 bits"));
    }
    filter.base[static_cast<size_t>(call * padded + o)] = static_cast<int32_t>(offset);
  }
  return absl::OkStatus();
}

std::vector<int32_t> StepOffsets(const ConvWindow& window, const FilterRuns& runs,
                                 const BufferLayout& input) {
  if (runs.ends.end_steps > 0) return EndsStepOffsets(runs.ends, window, input);
  std::vector<int32_t> offsets;
  for (int64_t y = 0; y < window.kernel_h; ++y) {
    for (int64_t x = 0; x < runs.taps / window.kernel_h; ++x) {
      const int64_t tap =
          y * window.dilation_h * input.row_bytes + x * window.dilation_w * input.pixel_bytes;
      for (int64_t c = 0; c < runs.channels; c += 4) {
        offsets.push_back(static_cast<int32_t>(tap + c));
      }
    }
  }
  return offsets;
}

// Weights of one call as they are packed.
absl::StatusOr<std::vector<int8_t>> FilterWeights(const LowBitConvOp& op, const ConvWindow& window,
                                                  const GroupSplit& split, const FilterRuns& runs,
                                                  int64_t call, QconvFilter& filter) {
  BITMILL_ASSIGN_OR_RETURN(std::vector<int8_t> weights, CallWeights(op, window, split, call));
  if (runs.tight) weights = JoinLines(weights, window, runs);
  NegateWeights(op, RangeOf(filter.kind), split, call * split.outputs, runs.channels * runs.taps,
                weights, filter.late_flip);
  return weights;
}

// Behind FillBase, for accumulators that become floats.
void AddScales(const LowBitConvOp& op, const ConvWindow& window, const GroupSplit& split,
               QconvFilter& filter) {
  if (op.epilogue == LowBitConvOp::Epilogue::kThresholds) return;
  const int64_t padded = (split.outputs + 7) / 8 * 8;
  filter.scale.assign(filter.base.size(), 0.0F);
  filter.bias = filter.scale;
  for (int64_t o = 0; o < window.out_channels; ++o) {
    const auto at = static_cast<size_t>(o / split.outputs * padded + o % split.outputs);
    filter.scale[at] = op.scale[static_cast<size_t>(o)];
    filter.bias[at] = op.bias[static_cast<size_t>(o)];
  }
}

// The form for all calls, given where each of them has weights; offers another one.
SparseChoice ChooseForm(const SparseUse& use, const std::vector<QconvOccupancy>& calls,
                        StepBuilder& builder) {
  if (calls.empty()) return {};
  const auto density = [&](int32_t group_channels) {
    double sum = 0.0;
    for (const QconvOccupancy& call : calls) sum += call.Density(group_channels);
    return sum / static_cast<double>(calls.size());
  };
  const SparseChoice taken =
      FormOf(builder.choice().sparse_channels, use.forms, use.few_pixels, density);
  const int32_t other = OtherSparseForm(taken, use.forms, use.few_pixels, density);
  if (other != LayerChoice::kByDensity) builder.OfferForm({.sparse_channels = other});
  return taken;
}

}  // namespace

int64_t QconvFilter::bytes() const {
  int64_t packed = weights.size();
  for (const SparseQconv& call : sparse) packed += call.bytes();
  return packed +
         static_cast<int64_t>((base.size() + scale.size() + bias.size() + step_bytes.size()) * 4);
}

QconvArgs QconvFilter::Applied(QconvArgs args, int64_t call) const {
  if (!sparse.empty()) return sparse[static_cast<size_t>(call)].Applied(args);
  args.weights = weights.as<uint8_t>() + call * call_bytes;
  return args;
}

absl::StatusOr<QconvFilter> PackQconvFilter(const LowBitConvOp& op, const ConvWindow& window,
                                            const GroupSplit& split, const BufferLayout& input,
                                            const LineEnds& ends, int32_t zero_point,
                                            int32_t levels, const SparseUse& sparse,
                                            StepBuilder& builder) {
  const FilterRuns runs = RunsOf(window, split, input.tight, ends);
  QconvFilter filter;
  filter.kind = KindOf(op.weight_bits, split.merged > 1 || runs.tight);
  filter.ternary = filter.kind == QconvWeights::k2Bit;
  filter.step_bytes = StepOffsets(window, runs, input);
  QconvFilterView view = {nullptr, filter.kind, static_cast<int32_t>(split.outputs),
                          static_cast<int32_t>(runs.channels), static_cast<int32_t>(runs.taps)};
  filter.call_bytes = PackedQconvBytes(view.kind, view.out_channels, view.channels, view.taps);
  if (split.calls * filter.call_bytes > kMaxWeightBytes) {
    return absl::ResourceExhaustedError("packed weights would take more than 1 GiB");
  }
  filter.base.assign(static_cast<size_t>(split.calls * ((split.outputs + 7) / 8 * 8)), 0);
  filter.late_flip.assign(static_cast<size_t>(window.out_channels), 0);
  std::vector<QconvOccupancy> occupancies;  // 1-bit weights have no zero
  const bool packed = !op.weights->has_elements();
  for (int64_t call = 0; call < split.calls && !packed; ++call) {
    BITMILL_ASSIGN_OR_RETURN(const std::vector<int8_t> weights,
                             FilterWeights(op, window, split, runs, call, filter));
    BITMILL_RETURN_IF_ERROR(FillBase(op, weights, split, call, zero_point, levels, filter));
    view.weights = weights.data();
    if (filter.kind != QconvWeights::k1Bit && sparse.forms.count > 0)
      occupancies.emplace_back(view);
  }
  filter.sparse_choice = ChooseForm(sparse, occupancies, builder);
  const int32_t group_channels = filter.sparse_choice.group_channels;
  for (int64_t call = 0; call < split.calls && group_channels > 0; ++call) {
    BITMILL_ASSIGN_OR_RETURN(const std::vector<int8_t> weights,
                             FilterWeights(op, window, split, runs, call, filter));
    view.weights = weights.data();
    filter.sparse.push_back(
        MakeSparseQconv(view, occupancies[static_cast<size_t>(call)], group_channels));
  }
  if (group_channels == 0) {
    const PackedSizes sizes{split.calls * filter.call_bytes,
                            static_cast<int64_t>(filter.base.size()), window.out_channels};
    const auto fill = [&](std::byte* to) -> absl::Status {
      for (int64_t call = 0; call < split.calls; ++call) {
        BITMILL_ASSIGN_OR_RETURN(const std::vector<int8_t> weights,
                                 FilterWeights(op, window, split, runs, call, filter));
        PackQconvWeights(weights.data(), view.kind, view.out_channels, view.channels, view.taps,
                         reinterpret_cast<uint8_t*>(to) + call * filter.call_bytes);
      }
      sizes.Store(filter, to);
      return absl::OkStatus();
    };
    BITMILL_ASSIGN_OR_RETURN(filter.weights, builder.FromWeights("qconv", sizes.bytes(), fill));
    sizes.Load(filter.weights.data(), filter);
  }
  AddScales(op, window, split, filter);
  return filter;
}

}  // namespace bitmill
