// Sum, difference, product or quotient of two float tensors of one shape (shortcuts above all),
// element by element in whatever order both are stored.
#include "backends/cpu/line_step.h"
#include "backends/cpu/steps.h"

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

  void RunLines(const StepRun& run, int64_t r, int64_t first, int64_t count) const override {
    const int64_t line = output.layout.row_bytes / int64_t{sizeof(float)};
    RunPart(run, r, first * line, count * line);
  }

  void RunPart(const StepRun& run, int64_t r, int64_t first, int64_t count) const {
    FmapArgs args{};
    args.op = op;
    args.src = reinterpret_cast<const float*>(a.Row(run, r)) + first;
    args.a = reinterpret_cast<const float*>(b.Row(run, r)) + first;
    args.each_a = true;
    args.dst = reinterpret_cast<float*>(output.Base(run) + r * output.layout.image_bytes) + first;
    args.count = count;
    kernel->run(args);
  }

  FmapOp op = FmapOp::kAdd;
  const FmapKernel* kernel = nullptr;
  Operand a, b, output;
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

}  // namespace

absl::StatusOr<StepPtr> MakeBinaryStep(BinaryOp op, const Operand& a, const Operand& b,
                                       const Operand& output, StepBuilder& builder) {
  if (a.layout.storage != output.layout.storage || b.layout.storage != output.layout.storage ||
      a.layout.elements != output.layout.elements || b.layout.elements != output.layout.elements) {
    return absl::InternalError("operands of an element-wise operation are stored differently");
  }
  auto step = std::make_unique<BinaryStep>();
  step->op = FmapOpOf(op);
  step->kernel = builder.kernels().fmap;
  step->a = a;
  step->b = b;
  step->output = output;
  step->mutable_info().kernel = "elementwise";
  return step;
}

}  // namespace bitmill
