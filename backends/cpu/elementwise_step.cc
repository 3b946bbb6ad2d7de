// A chain of float operations over a tensor, row by row; reads request rows in place.
#include <cstring>

#include "backends/cpu/compiled_chain.h"
#include "backends/cpu/line_step.h"
#include "backends/cpu/steps.h"

namespace bitmill {
namespace {

class ElementwiseStep final : public LineStep {
 public:
  LineAccess access() const override {
    if (output.layout.storage != Storage::kPixelFloat || input.in_request()) return {};
    return {output.layout.height, output.layout.row_bytes, -1, output.buffer};
  }

  ElementWork element_work() const override { return ChainWork{&input, &output, &chain}; }

  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    const int64_t at = r * output.layout.image_bytes + first * output.layout.row_bytes;
    std::byte* const dst = output.Base(run) + at;
    const std::byte* const source = input.Base(run) + at;
    if (source != dst) {
      std::memcpy(dst, source, static_cast<size_t>(count * output.layout.row_bytes));
    }
    chain.RunInterleaved(reinterpret_cast<float*>(dst), count * output.layout.width,
                         output.layout.channels);
    return absl::OkStatus();
  }

  absl::Status Run(const StepRun& run) const override {
    const size_t bytes = static_cast<size_t>(input.layout.elements) * sizeof(float);
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* const source = input.Row(run, r);
      auto* const dst = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes);
      const bool interleaved = output.layout.storage == Storage::kPixelFloat;
      if (interleaved || !IsAligned(source, alignof(float))) {
        if (static_cast<const void*>(source) != dst) std::memcpy(dst, source, bytes);
      }
      if (interleaved) {
        chain.RunInterleaved(dst, input.layout.pixels(), input.layout.channels);
      } else {
        const float* const src =
            IsAligned(source, alignof(float)) ? reinterpret_cast<const float*>(source) : dst;
        const int64_t image = input.layout.channels * input.layout.pixels();
        for (int64_t at = 0; at < input.layout.elements; at += image) {
          chain.RunPlanar(src + at, dst + at, input.layout.pixels());
        }
      }
    }
    return absl::OkStatus();
  }

  Operand input, output;
  CompiledChain chain;
};

}  // namespace

absl::StatusOr<StepPtr> MakeElementwiseStep(const ElementwiseOp& op, const Operand& input,
                                            const Operand& output, StepBuilder& builder) {
  auto step = std::make_unique<ElementwiseStep>();
  step->input = input;
  step->output = output;
  absl::StatusOr<CompiledChain> chain =
      CompiledChain::Make(op.chain, input.layout.channels, *builder.kernels().fmap);
  if (!chain.ok()) return chain.status();
  step->chain = *std::move(chain);
  StepInfo& info = step->mutable_info();
  info.kernel = "chain";
  info.weight_bytes = step->chain.table_bytes();
  return step;
}

}  // namespace bitmill
