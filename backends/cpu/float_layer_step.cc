#include "backends/cpu/float_layer_step.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

class FloatLayerStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* source = input.Row(run, r);
      if (!IsAligned(source, alignof(float))) {
        std::memcpy(run.buffers[scratch], source,
                    static_cast<size_t>(input.layout.elements) * sizeof(float));
        source = run.buffers[scratch];
      }
      std::byte* const row = output.Base(run) + r * output.layout.image_bytes;
      BITMILL_RETURN_IF_ERROR(layer->RunRow(run, source, row));
      if (chain.empty()) continue;
      auto* const values = reinterpret_cast<float*>(row);
      if (output.layout.storage == Storage::kPixelFloat) {
        chain.RunInterleaved(values, output.layout.pixels(), output.layout.channels);
      } else {
        chain.RunPlanar(values, values, output.layout.pixels());
      }
    }
    return absl::OkStatus();
  }

  std::unique_ptr<StepState> CreateState() const override { return layer->CreateState(); }

  std::unique_ptr<DnnlLayer> layer;
  Operand input, output;
  CompiledChain chain;
  int32_t scratch = -1;
};

}  // namespace

absl::StatusOr<StepPtr> MakeFloatLayerStep(std::unique_ptr<DnnlLayer> layer, const Chain& chain,
                                           const Operand& input, const Operand& output,
                                           int64_t macs, StepBuilder& builder) {
  auto step = std::make_unique<FloatLayerStep>();
  step->layer = std::move(layer);
  step->input = input;
  step->output = output;
  BITMILL_ASSIGN_OR_RETURN(
      step->chain, CompiledChain::Make(chain, output.layout.channels, *builder.kernels().fmap));
  if (input.in_request()) {
    step->scratch = builder.AddScratch(input.layout.elements * int64_t{sizeof(float)});
  }
  StepInfo& info = step->mutable_info();
  info.kernel = absl::StrCat(step->layer->implementation(), chain.empty() ? "" : "+chain");
  info.macs = macs;
  info.weight_bytes = step->layer->weight_bytes() + step->chain.table_bytes();
  return step;
}

}  // namespace bitmill
