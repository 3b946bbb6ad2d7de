// Sum, difference, product or quotient of a float tensor and a constant that varies over pixels
// (positions of a sequence, say), expanded once to the storage of the tensor.
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/line_step.h"
#include "backends/cpu/sequence_steps.h"
#include "backends/cpu/strided_copy.h"
#include "model/ops/op_support.h"

namespace bitmill {
namespace {

class ConstantOperandStep final : public LineStep {
 public:
  LineAccess access() const override {
    if (output.layout.storage != Storage::kPixelFloat) return {};
    return {output.layout.height, output.layout.row_bytes, -1, output.buffer};
  }

  absl::Status Run(const StepRun& run) const override {
    for (int64_t r = 0; r < run.rows; ++r) RunPart(run, r, 0, output.layout.elements);
    return absl::OkStatus();
  }

  void RunLines(const StepRun& run, int64_t r, int64_t first, int64_t count) const override {
    const int64_t line = output.layout.row_bytes / int64_t{sizeof(float)};
    RunPart(run, r, first * line, count * line);
  }

  void RunPart(const StepRun& run, int64_t r, int64_t first, int64_t count) const {
    FmapArgs args{};
    args.op = op;
    args.src = reinterpret_cast<const float*>(input.Row(run, r)) + first;
    args.a = operand.data() + first;
    args.each_a = true;
    args.dst = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes) + first;
    args.count = count;
    kernel->run(args);
  }

  FmapOp op = FmapOp::kAdd;
  const FmapKernel* kernel = nullptr;
  Operand input, output;
  std::vector<float> operand;  // in the order of the storage
};

}  // namespace

absl::StatusOr<StepPtr> MakeConstantOperandStep(FmapOp op, const Tensor& constant,
                                                absl::Span<const int64_t> shape,
                                                const Operand& input, const Operand& output,
                                                StepBuilder& builder) {
  if (input.layout.storage != output.layout.storage ||
      input.layout.elements != output.layout.elements) {
    return absl::InternalError("an element-wise operation changes the storage");
  }
  auto step = std::make_unique<ConstantOperandStep>();
  step->op = op;
  step->kernel = builder.kernels().fmap;
  step->input = input;
  step->output = output;
  step->operand.resize(static_cast<size_t>(output.layout.elements));
  const absl::Span<const float> values = constant.span<float>();
  ForEachBroadcast(shape, BroadcastStrides(constant.shape(), shape),
                   StorageStrides(output.layout, shape), [&](int64_t from, int64_t to, int64_t) {
                     step->operand[static_cast<size_t>(to)] = values[static_cast<size_t>(from)];
                   });
  StepInfo& info = step->mutable_info();
  info.kernel = "elementwise";
  info.weight_bytes = output.layout.elements * int64_t{sizeof(float)};
  return step;
}

}  // namespace bitmill
