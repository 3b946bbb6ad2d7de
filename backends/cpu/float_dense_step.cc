// A dense float layer: rows share the weights (kernels/fdense/fdense.h), threads its channels. In
// bfloat16 oneDNN computes it, row by row.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/dnnl_layer.h"
#include "backends/cpu/float_layer_step.h"
#include "base/status_macros.h"
#include "base/tensor.h"

namespace bitmill {
namespace {

class FloatDenseStep final : public Step {
 public:
  int64_t parts() const override { return chain.empty() ? Blocks() : 0; }

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
    const int64_t channel = first * kFdenseBlock;
    FdenseArgs args = {};
    args.elements = input.layout.elements;
    args.channels = std::min(count * kFdenseBlock, output.layout.elements - channel);
    args.weights = weights.as<float>() + channel * args.elements;
    args.bias = bias.empty() ? nullptr : bias.data() + channel;
    for (int64_t r = 0; r < run.rows; r += kFdenseRows) {
      const float* inputs[kFdenseRows];
      float* outputs[kFdenseRows];
      args.rows = static_cast<int32_t>(std::min(kFdenseRows, run.rows - r));
      for (int64_t i = 0; i < args.rows; ++i) {
        const std::byte* source = input.Row(run, r + i);
        if (!IsAligned(source, alignof(float))) {
          source = run.buffers[scratch] + (r + i) * RowBytes();
        }
        inputs[i] = reinterpret_cast<const float*>(source);
        outputs[i] = OutputRow(run, r + i) + channel;
      }
      args.inputs = inputs;
      args.outputs = outputs;
      kernel->run(args);
    }
    return absl::OkStatus();
  }

  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    BITMILL_RETURN_IF_ERROR(RunParts(run, 0, Blocks()));
    for (int64_t r = 0; !chain.empty() && r < run.rows; ++r) {
      chain.RunPlanar(OutputRow(run, r), OutputRow(run, r), 1);
    }
    return absl::OkStatus();
  }

  float* OutputRow(const StepRun& run, int64_t r) const {
    return reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes);
  }
  int64_t Blocks() const { return (output.layout.elements + kFdenseBlock - 1) / kFdenseBlock; }
  int64_t RowBytes() const { return input.layout.elements * int64_t{sizeof(float)}; }

  Operand input, output;
  const FdenseKernel* kernel = nullptr;
  PackedBytes weights;
  std::vector<float> bias;
  CompiledChain chain;
  int32_t scratch = -1;
};

absl::StatusOr<StepPtr> MakeOwnStep(const FloatDenseOp& op, const Operand& input,
                                    const Operand& output, StepBuilder& builder) {
  auto step = std::make_unique<FloatDenseStep>();
  step->input = input;
  step->output = output;
  step->kernel = builder.kernels().fdense;
  step->bias = op.bias;
  const int64_t channels = output.layout.elements, elements = input.layout.elements;
  BITMILL_ASSIGN_OR_RETURN(
      step->weights,
      builder.FromWeights("fdense", PackedFdenseFloats(channels, elements) * int64_t{sizeof(float)},
                          [&](std::byte* to) -> absl::Status {
                            if (!op.weights->has_elements()) {
                              return absl::FailedPreconditionError(
                                  "the plan file has no weights in this layout");
                            }
                            PackFdenseWeights(op.weights->span<float>().data(), channels, elements,
                                              reinterpret_cast<float*>(to));
                            return absl::OkStatus();
                          }));
  BITMILL_ASSIGN_OR_RETURN(step->chain,
                           CompiledChain::Make(op.chain, channels, *builder.kernels().fmap));
  if (input.in_request()) step->scratch = builder.AddBuffer(step->RowBytes(), 0);
  StepInfo& info = step->mutable_info();
  info.kernel = absl::StrCat(step->kernel->name, op.chain.empty() ? "" : "+chain");
  info.macs = elements * channels;
  info.rows_together = true;
  info.weight_bytes = step->weights.size() + static_cast<int64_t>(op.bias.size() * sizeof(float)) +
                      step->chain.table_bytes();
  return step;
}

}  // namespace

absl::StatusOr<StepPtr> MakeFloatDenseStep(const FloatDenseOp& op, const Operand& input,
                                           const Operand& output, StepBuilder& builder) {
  if (op.weights == nullptr || op.weights->dtype() != DType::kFloat32 ||
      op.weights->shape().size() != 2 || op.weights->shape()[0] != output.layout.elements ||
      op.weights->shape()[1] != input.layout.elements ||
      (!op.bias.empty() && static_cast<int64_t>(op.bias.size()) != output.layout.elements)) {
    return absl::InternalError(absl::StrCat("weights or bias do not fit ", input.layout.elements,
                                            " -> ", output.layout.elements, " elements"));
  }
  if (!builder.kernels().bf16) return MakeOwnStep(op, input, output, builder);
  const int64_t macs = input.layout.elements * output.layout.elements;
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<DnnlLayer> layer,
                           MakeDnnlDense(op, input.layout, output.layout, builder));
  return MakeFloatLayerStep(std::move(layer), op.chain, input, output, {macs}, builder);
}

}  // namespace bitmill
