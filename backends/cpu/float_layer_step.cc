#include "backends/cpu/float_layer_step.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/line_step.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

class FloatLayerStep final : public LineStep {
 public:
  int64_t parts() const override { return layer->parts() > 1 ? layer->parts() : 0; }

  // Blocks of lines that are parts.
  LineAccess access() const override {
    if (layer->parts() < 2) return {};
    return {output.layout.height,
            output.layout.row_bytes,
            input.in_request() || pointwise ? -1 : input.buffer,
            output.buffer,
            PartLines(),
            {}};
  }

  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    const int64_t end = (first + count + PartLines() - 1) / PartLines();
    return RunRow(run, r, first / PartLines(), end);
  }

  // Rows of a request that are not aligned are copied first.
  void Prepare(const StepRun& run) const override {
    for (int64_t r = 0; scratch >= 0 && r < run.rows; ++r) {
      const std::byte* const source = input.Row(run, r);
      if (!IsAligned(source, alignof(float))) {
        std::memcpy(run.buffers[scratch] + r * RowBytes(), source, static_cast<size_t>(RowBytes()));
      }
    }
  }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      BITMILL_RETURN_IF_ERROR(RunRow(run, r, first, first + count));
    }
    return absl::OkStatus();
  }

  // Parts first .. end - 1 of a row.
  absl::Status RunRow(const StepRun& run, int64_t r, int64_t first, int64_t end) const {
    const std::byte* source = input.Row(run, r);
    if (!IsAligned(source, alignof(float))) source = run.buffers[scratch] + r * RowBytes();
    std::byte* const row = output.Base(run) + r * output.layout.image_bytes;
    for (int64_t part = first; part < end; ++part) {
      BITMILL_RETURN_IF_ERROR(layer->RunPart(run, source, row, part));
      if (!chain.empty()) RunChain(row, part);
    }
    return absl::OkStatus();
  }

  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    return RunParts(run, 0, layer->parts());
  }

  std::unique_ptr<StepState> CreateState() const override { return layer->CreateState(); }

  void RunChain(std::byte* row, int64_t part) const {
    const BufferLayout& out = output.layout;
    if (out.storage != Storage::kPixelFloat) {  // one part
      auto* const values = reinterpret_cast<float*>(row);
      return chain.RunPlanar(values, values, out.pixels());
    }
    const int64_t first = part * PartLines(), count = std::min(PartLines(), out.height - first);
    chain.RunInterleaved(reinterpret_cast<float*>(row + first * out.row_bytes), count * out.width,
                         out.channels);
  }

  int64_t PartLines() const { return layer->part_lines(); }
  int64_t RowBytes() const { return input.layout.elements * int64_t{sizeof(float)}; }

  std::unique_ptr<DnnlLayer> layer;
  Operand input, output;
  bool pointwise = false;  // a pixel depends on the same pixel alone
  CompiledChain chain;
  int32_t scratch = -1;
};

}  // namespace

absl::StatusOr<StepPtr> MakeFloatLayerStep(std::unique_ptr<DnnlLayer> layer, const Chain& chain,
                                           const Operand& input, const Operand& output,
                                           FloatLayerTraits traits, StepBuilder& builder) {
  auto step = std::make_unique<FloatLayerStep>();
  step->layer = std::move(layer);
  step->input = input;
  step->output = output;
  step->pointwise = traits.pointwise;
  BITMILL_ASSIGN_OR_RETURN(
      step->chain, CompiledChain::Make(chain, output.layout.channels, *builder.kernels().fmap));
  if (input.in_request()) {
    step->scratch = builder.AddBuffer(step->RowBytes(), 0);
  }
  StepInfo& info = step->mutable_info();
  info.kernel = absl::StrCat(step->layer->implementation(), chain.empty() ? "" : "+chain");
  info.macs = traits.macs;
  info.weight_bytes = step->layer->weight_bytes() + step->chain.table_bytes();
  return step;
}

}  // namespace bitmill
