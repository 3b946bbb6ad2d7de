// float -> bits or codes, channels innermost. Rows are read where they lie, in the request or not.
//
// Bits are one comparison a channel, of narrower numbers as they are
// (model/passes/narrow_inputs.h). Codes are defined by their level thresholds; where the chain and
// the quantizer give the same codes (which is checked once, at each threshold: both are steps that
// only rise), the pack kernel computes them, otherwise backends/cpu/level_quantizer.h.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "backends/cpu/compiled_chain.h"
#include "backends/cpu/level_quantizer.h"
#include "backends/cpu/line_step.h"
#include "backends/cpu/steps.h"
#include "kernels/pack/sign_key.h"

namespace bitmill {
namespace {

// Where a row's elements are, in elements.
struct Strides {
  int64_t pixel, channel;
};

Strides StridesOf(const BufferLayout& layout) {
  if (layout.storage == Storage::kPixelFloat) {
    return {layout.pixel_bytes / int64_t{sizeof(float)}, 1};
  }
  return {1, layout.pixels()};
}

class QuantizeStep final : public LineStep {
 public:
  enum class Way : uint8_t { kSign, kSignNarrow, kLevels, kPack, kRound };

  LineAccess access() const override {
    if (input.layout.storage != Storage::kPixelFloat || scratch >= 0) return {};
    return {output.layout.height, output.layout.row_bytes, -1, output.buffer};
  }

  ElementWork element_work() const override {
    if (way != Way::kSign || scratch >= 0) return {};
    return SignWork{&input, &output, thresholds, invert};
  }

  void Prepare(const StepRun& run) const override {
    PrepareBuffer(output.layout, output.Base(run), run.rows);
  }

  int64_t parts() const override { return scratch >= 0 ? 0 : output.layout.height; }

  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    const int64_t line_bytes = output.layout.width * strides.pixel * int64_t{sizeof(float)};
    const std::byte* const source = input.Row(run, r) + first * line_bytes;
    std::byte* const dst = output.Base(run) + r * output.layout.image_bytes +
                           output.layout.interior_bytes + first * output.layout.row_bytes;
    if (output.layout.border.empty()) {
      Pack(source, count * output.layout.width, dst);
      return absl::OkStatus();
    }
    for (int64_t y = 0; y < count; ++y) {
      Pack(source + y * line_bytes, output.layout.width, dst + y * output.layout.row_bytes);
    }
    return absl::OkStatus();
  }

  absl::Status Run(const StepRun& run) const override {
    std::byte* const base = output.Base(run);
    Prepare(run);
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* source = input.Row(run, r);
      if (scratch >= 0) {
        auto* const work = reinterpret_cast<float*>(run.buffers[scratch]);
        RunChain(source, work);
        source = run.buffers[scratch];
      }
      std::byte* const row = base + r * output.layout.image_bytes + output.layout.interior_bytes;
      // Without a border the image is one long line of pixels.
      const bool one_line = output.layout.border.empty();
      const int64_t lines = one_line ? 1 : output.layout.height;
      const int64_t pixels = one_line ? output.layout.pixels() : output.layout.width;
      for (int64_t y = 0; y < lines; ++y) {
        Pack(source + y * pixels * strides.pixel * element_bytes, pixels,
             row + y * output.layout.row_bytes);
      }
    }
    return absl::OkStatus();
  }

  void RunChain(const std::byte* source, float* work) const {
    const auto count = static_cast<size_t>(input.layout.elements);
    const float* from = reinterpret_cast<const float*>(source);
    if (!IsAligned(source, alignof(float))) {
      std::memcpy(work, source, count * sizeof(float));
      from = work;
    }
    if (input.layout.storage == Storage::kPixelFloat) {
      if (from != work) std::memcpy(work, from, count * sizeof(float));
      chain.RunInterleaved(work, input.layout.pixels(), input.layout.channels);
    } else {
      chain.RunPlanar(from, work, input.layout.pixels());
    }
  }

  void Pack(const std::byte* source, int64_t pixels, std::byte* dst) const {
    const auto* const src = reinterpret_cast<const float*>(source);
    const auto channels = static_cast<int32_t>(output.layout.channels);
    switch (way) {
      case Way::kSign: {
        SignPackArgs args{};
        args.src = src;
        args.src_pixel = strides.pixel;
        args.src_channel = strides.channel;
        args.pixels = static_cast<int32_t>(pixels);
        args.channels = channels;
        args.per_channel = thresholds.size() > 1 ? 1 : 0;
        args.thresholds = thresholds.data();
        args.invert = invert.empty() ? nullptr : invert.data();
        args.dst = reinterpret_cast<uint8_t*>(dst);
        args.dst_pixel = output.layout.pixel_bytes;
        kernel->sign(args);
        return;
      }
      case Way::kSignNarrow: {
        SignPackNarrowArgs args{};
        args.source = narrow;
        args.src = source;
        args.src_pixel = strides.pixel;
        args.src_channel = strides.channel;
        args.pixels = static_cast<int32_t>(pixels);
        args.channels = channels;
        args.per_channel = keys.size() > 1 ? 1 : 0;
        args.keys = keys.data();
        args.invert = invert.data();
        args.dst = reinterpret_cast<uint8_t*>(dst);
        args.dst_pixel = output.layout.pixel_bytes;
        kernel->sign_narrow(args);
        return;
      }
      case Way::kPack: {
        QuantPackArgs args{};
        args.src = src;
        args.src_pixel = strides.pixel;
        args.src_channel = strides.channel;
        args.pixels = static_cast<int32_t>(pixels);
        args.channels = channels;
        args.scale = quantizer.code.scale;
        args.offset = quantizer.offset - static_cast<float>(shift);
        args.levels = quantizer.code.levels;
        args.shift = shift;
        args.dst = reinterpret_cast<uint8_t*>(dst);
        args.dst_pixel = output.layout.pixel_bytes;
        kernel->quant(args);
        return;
      }
      case Way::kLevels:
        PackLevels(source, pixels, dst);
        return;
      case Way::kRound:
        for (int64_t p = 0; p < pixels; ++p) {
          for (int64_t c = 0; c < channels; ++c) {
            dst[p * output.layout.pixel_bytes + c] =
                static_cast<std::byte>(EvaluateQuantizer(quantizer, At(source, p, c)));
          }
        }
        return;
    }
  }

  float At(const std::byte* source, int64_t pixel, int64_t channel) const {
    float x = 0.0F;
    std::memcpy(&x, source + (pixel * strides.pixel + channel * strides.channel) * 4, sizeof x);
    return x;
  }

  // Along the longer of pixels and channels where one set of thresholds serves all.
  void PackLevels(const std::byte* source, int64_t pixels, std::byte* dst) const {
    constexpr int64_t kFloat = sizeof(float);
    const int64_t channels = output.layout.channels;
    if (levels.size() == 1 && pixels < channels) {
      for (int64_t p = 0; p < pixels; ++p) {
        levels[0].Run(source + p * strides.pixel * kFloat, strides.channel * kFloat, channels,
                      dst + p * output.layout.pixel_bytes, 1);
      }
      return;
    }
    for (int64_t c = 0; c < channels; ++c) {
      const LevelQuantizer& row = levels[levels.size() == 1 ? 0 : static_cast<size_t>(c)];
      row.Run(source + c * strides.channel * kFloat, strides.pixel * kFloat, pixels, dst + c,
              output.layout.pixel_bytes);
    }
  }

  // Of bits of narrow numbers; thresholds and inversions are set.
  void UseKeys(PackSource source, int64_t bytes) {
    way = Way::kSignNarrow;
    narrow = source;
    element_bytes = bytes;
    invert.resize(thresholds.size());
    for (size_t i = 0; i < thresholds.size(); ++i) {
      const SignKey key = SignKeyOf(narrow, thresholds[i]);
      keys.push_back(key.key);
      if (key.never) invert[i] ^= 1;
    }
    thresholds.clear();
  }

  Operand input, output;
  Strides strides{};
  int64_t element_bytes = sizeof(float);
  PackSource narrow = PackSource::kHalf;  // kSignNarrow
  int32_t scratch = -1;
  Way way = Way::kSign;
  const PackKernel* kernel = nullptr;
  CompiledChain chain;
  Quantizer quantizer;
  int32_t shift = 0;                   // kPack: the part of its offset that is added after rounding
  std::vector<float> thresholds;       // bits: [1 or channels]
  std::vector<int16_t> keys;           // bits of narrow numbers: [1 or channels]
  std::vector<uint8_t> invert;         // empty: none
  std::vector<LevelQuantizer> levels;  // [1 or channels]
};

// How kernels know a type that is narrower than float; nullopt for other types.
std::optional<PackSource> PackSourceOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
      return PackSource::kHalf;
    case DType::kBFloat16:
      return PackSource::kBFloat16;
    case DType::kInt8:
      return PackSource::kInt8;
    case DType::kUInt8:
      return PackSource::kUInt8;
    default:
      return std::nullopt;
  }
}

// What the pack kernel gives for x, in float32 as the formula is written.
int32_t PackedCode(const Quantizer& quantizer, int32_t shift, float x) {
  const float offset = quantizer.offset - static_cast<float>(shift);
  const float value = x / quantizer.code.scale + offset;
  if (std::isnan(value)) return 0;
  const auto low = static_cast<float>(-shift);
  const auto top = static_cast<float>(quantizer.code.levels - 1 - shift);
  return static_cast<int32_t>(std::nearbyint(std::clamp(value, low, top))) + shift;
}

// Whether chain and pack kernel give exactly the codes that the thresholds define, for a channel.
bool PackMatches(const QuantizeOp& op, int32_t shift, absl::Span<const float> levels,
                 int64_t channel) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (!ChainMonotonicity(op.chain, channel).monotone) return false;
  const auto code = [&](float x) {
    return PackedCode(op.quantizer, shift, EvaluateChain(op.chain, x, channel));
  };
  for (size_t i = 0; i < levels.size(); ++i) {
    const auto above = static_cast<int32_t>(i) + 1;
    if (std::isnan(levels[i])) {
      if (code(kInfinity) >= above) return false;
      continue;
    }
    if (code(levels[i]) < above) return false;
    if (levels[i] != -kInfinity && code(std::nextafter(levels[i], -kInfinity)) >= above) {
      return false;
    }
  }
  return true;
}

bool PackMatches(const QuantizeOp& op, int32_t shift, int64_t level_count, int64_t channels) {
  if (op.quantizer.code.kind != CodeKind::kUInt8 || op.quantizer.code.levels != level_count + 1) {
    return false;
  }
  for (int64_t c = 0; c < channels; ++c) {
    const auto row = static_cast<size_t>(op.level_channels > 1 ? c * level_count : 0);
    const auto levels = absl::MakeConstSpan(op.level_thresholds).subspan(row, size_t(level_count));
    if (!PackMatches(op, shift, levels, c)) return false;
  }
  return true;
}

// The part of the offset after rounding with which the pack kernel gives the codes that the
// thresholds define: halves are rounded to even numbers, so an odd offset before rounding moves
// them. Nullopt: none does.
std::optional<int32_t> PackShift(const QuantizeOp& op, int64_t level_count, int64_t channels) {
  const int32_t zero = op.quantizer.code.zero_point;
  if (PackMatches(op, 0, level_count, channels)) return 0;
  if (zero > 0 && zero <= level_count && PackMatches(op, zero, level_count, channels)) return zero;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<StepPtr> MakeQuantizeStep(const QuantizeOp& op, const Operand& input,
                                         const Operand& output, StepBuilder& builder) {
  auto step = std::make_unique<QuantizeStep>();
  step->input = input;
  step->output = output;
  step->strides = StridesOf(input.layout);
  step->kernel = builder.kernels().pack;
  step->quantizer = op.quantizer;
  const bool to_bits = output.layout.storage == Storage::kBits;
  const int64_t channels = output.layout.channels;
  const auto fits = [&](size_t size) {
    return size == 1 || static_cast<int64_t>(size) == channels;
  };

  // Floats that are kept channels innermost have no other type.
  const bool plain = input.layout.storage == Storage::kPlain;
  const std::optional<PackSource> narrow = plain ? PackSourceOf(input.layout.dtype) : std::nullopt;
  if (narrow && (!to_bits || op.bit_thresholds.empty())) {
    return absl::InternalError("only signs are taken of numbers that are not float");
  }
  bool needs_chain = false;
  if (to_bits && !op.bit_thresholds.empty()) {
    if (!fits(op.bit_thresholds.size()) ||
        (!op.bit_invert.empty() && op.bit_invert.size() != op.bit_thresholds.size())) {
      return absl::InternalError(
          absl::StrCat(op.bit_thresholds.size(), " bit thresholds for ", channels, " channels"));
    }
    step->way = QuantizeStep::Way::kSign;
    step->thresholds = op.bit_thresholds;
    if (std::find(op.bit_invert.begin(), op.bit_invert.end(), 1) != op.bit_invert.end()) {
      step->invert = op.bit_invert;
    }
    if (narrow) step->UseKeys(*narrow, DTypeSize(input.layout.dtype));
  } else if (to_bits) {
    step->way = QuantizeStep::Way::kSign;
    step->thresholds = {0.0F};
    needs_chain = !op.chain.empty();
  } else if (!op.level_thresholds.empty()) {
    const auto count = static_cast<int64_t>(op.level_thresholds.size());
    if (!fits(static_cast<size_t>(op.level_channels)) || count % op.level_channels != 0 ||
        count / op.level_channels > 255) {
      return absl::InternalError(absl::StrCat(count, " level thresholds in ", op.level_channels,
                                              " rows for ", channels, " channels"));
    }
    const int64_t row_levels = count / op.level_channels;
    if (const std::optional<int32_t> shift = PackShift(op, row_levels, channels)) {
      step->way = QuantizeStep::Way::kPack;
      step->shift = *shift;
      needs_chain = !op.chain.empty();
    } else {
      step->way = QuantizeStep::Way::kLevels;
      for (int64_t row = 0; row < op.level_channels; ++row) {
        step->levels.emplace_back(
            absl::MakeConstSpan(op.level_thresholds)
                .subspan(static_cast<size_t>(row * row_levels), static_cast<size_t>(row_levels)));
      }
    }
  } else {
    step->way = op.quantizer.rounding == Rounding::kHalfEven ? QuantizeStep::Way::kPack
                                                             : QuantizeStep::Way::kRound;
    needs_chain = !op.chain.empty();
  }
  if (!to_bits && step->way != QuantizeStep::Way::kLevels &&
      (op.quantizer.code.levels < 1 || op.quantizer.code.levels > 256)) {
    return absl::InternalError(absl::StrCat(op.quantizer.code.levels, " levels in a quantizer"));
  }
  if (needs_chain) {
    absl::StatusOr<CompiledChain> chain =
        CompiledChain::Make(op.chain, input.layout.channels, *builder.kernels().fmap);
    if (!chain.ok()) return chain.status();
    step->chain = *std::move(chain);
    step->scratch = builder.AddBuffer(0, input.layout.elements * int64_t{sizeof(float)});
  }

  StepInfo& info = step->mutable_info();
  info.kernel = step->way == QuantizeStep::Way::kLevels  ? "levels"
                : step->way == QuantizeStep::Way::kRound ? "round"
                                                         : step->kernel->name;
  if (step->scratch >= 0) absl::StrAppend(&info.kernel, "+chain");
  info.weight_bytes = step->chain.table_bytes() +
                      static_cast<int64_t>(step->thresholds.size() * sizeof(float)) +
                      static_cast<int64_t>(step->keys.size() * sizeof(int16_t)) +
                      static_cast<int64_t>(step->invert.size());
  for (const LevelQuantizer& row : step->levels) info.weight_bytes += row.table_bytes();
  return step;
}

}  // namespace bitmill
