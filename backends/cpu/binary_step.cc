// Sum, difference, product or quotient, element by element in whatever order both are stored, of a
// float tensor and another one of its shape (shortcuts above all), or a constant that varies over
// pixels (positions of a sequence, say), expanded once to the storage of the tensor.
#include <vector>

#include "backends/cpu/line_step.h"
#include "backends/cpu/sequence_steps.h"
#include "backends/cpu/steps.h"
#include "backends/cpu/strided_copy.h"
#include "model/ops/op_support.h"

namespace bitmill {
namespace {

class BinaryStep final : public LineStep {
 public:
  LineAccess access() const override {
    if (output.layout.storage != Storage::kPixelFloat) return {};
    return {output.layout.height, output.layout.row_bytes, -1, output.buffer};
  }

  absl::Status Run(const StepRun& run) const override {
    for (int64_t r = 0; r < run.rows; ++r) RunPart(run, r, 0, output.layout.elements);
    return absl::OkStatus();
  }

  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                        int64_t count) const override {
    const int64_t line = output.layout.row_bytes / int64_t{sizeof(float)};
    RunPart(run, r, first * line, count * line);
    return absl::OkStatus();
  }

  ElementWork element_work() const override {
    if (op != FmapOp::kAdd || !constant.empty()) return {};
    return SumWork{&a, &b, &output};
  }

  void RunPart(const StepRun& run, int64_t r, int64_t first, int64_t count) const {
    const float* const second =
        constant.empty() ? reinterpret_cast<const float*>(b.Row(run, r)) : constant.data();
    FmapArgs args{};
    args.op = op;
    args.src = reinterpret_cast<const float*>(a.Row(run, r)) + first;
    args.a = second + first;
    args.each_a = true;
    args.dst = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes) + first;
    args.count = count;
    kernel->run(args);
  }

  FmapOp op = FmapOp::kAdd;
  const FmapKernel* kernel = nullptr;
  Operand a, b, output;         // b: where there is no constant
  std::vector<float> constant;  // in the order of the storage
};

FmapOp FmapOpOf(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd:
      break;
    case BinaryOp::kSub:
      return FmapOp::kSub;
    case BinaryOp::kMul:
      return FmapOp::kMul;
    case BinaryOp::kDiv:
      return FmapOp::kDiv;
  }
  return FmapOp::kAdd;
}

absl::StatusOr<std::unique_ptr<BinaryStep>> MakeStep(FmapOp op, const Operand& a,
                                                     const Operand& output, StepBuilder& builder) {
  if (a.layout.storage != output.layout.storage || a.layout.elements != output.layout.elements) {
    return absl::InternalError("an element-wise operation changes the storage");
  }
  auto step = std::make_unique<BinaryStep>();
  step->op = op;
  step->kernel = builder.kernels().fmap;
  step->a = a;
  step->output = output;
  step->mutable_info().kernel = "elementwise";
  return step;
}

}  // namespace

absl::StatusOr<StepPtr> MakeBinaryStep(BinaryOp op, const Operand& a, const Operand& b,
                                       const Operand& output, StepBuilder& builder) {
  if (b.layout.storage != output.layout.storage || b.layout.elements != output.layout.elements) {
    return absl::InternalError("operands of an element-wise operation are stored differently");
  }
  absl::StatusOr<std::unique_ptr<BinaryStep>> step = MakeStep(FmapOpOf(op), a, output, builder);
  if (!step.ok()) return step.status();
  (*step)->b = b;
  return *std::move(step);
}

absl::StatusOr<StepPtr> MakeConstantOperandStep(FmapOp op, const Tensor& constant,
                                                absl::Span<const int64_t> shape,
                                                const Operand& input, const Operand& output,
                                                StepBuilder& builder) {
  absl::StatusOr<std::unique_ptr<BinaryStep>> step = MakeStep(op, input, output, builder);
  if (!step.ok()) return step.status();
  std::vector<float>& expanded = (*step)->constant;
  expanded.resize(static_cast<size_t>(output.layout.elements));
  const absl::Span<const float> values = constant.span<float>();
  ForEachBroadcast(shape, BroadcastStrides(constant.shape(), shape),
                   StorageStrides(output.layout, shape), [&](int64_t from, int64_t to, int64_t) {
                     expanded[static_cast<size_t>(to)] = values[static_cast<size_t>(from)];
                   });
  (*step)->mutable_info().weight_bytes = output.layout.elements * int64_t{sizeof(float)};
  return *std::move(step);
}

}  // namespace bitmill
