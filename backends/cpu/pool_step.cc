// Max pooling on bits (AND / OR) or codes (maximum / minimum of bytes); all rows in one call.
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/conv_window.h"
#include "backends/cpu/steps.h"

namespace bitmill {
namespace {

class PoolStep final : public Step {
 public:
  int64_t parts() const override { return output.layout.height; }

  void Prepare(const StepRun& run) const override {
    PrepareBuffer(output.layout, output.Base(run), run.rows, /*whole_pixels=*/true);
  }

  // A line further down is an image whose padding begins that much earlier.
  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    PoolArgs call = args;
    call.batch = static_cast<int32_t>(run.rows);
    call.input = reinterpret_cast<const uint8_t*>(input.Base(run) + input.layout.interior_bytes);
    call.minimum = minimum.empty() ? nullptr : minimum.data();
    call.output = reinterpret_cast<uint8_t*>(output.Base(run) + output.layout.interior_bytes +
                                             first * output.layout.row_bytes);
    call.out_h = static_cast<int32_t>(count);
    call.pad_top = static_cast<int32_t>(args.pad_top - first * args.stride_h);
    pool(call);
    return absl::OkStatus();
  }

  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    return RunParts(run, 0, output.layout.height);
  }

  Operand input, output;
  PoolArgs args{};
  PoolFn pool = nullptr;
  std::vector<uint8_t> minimum;  // a mask as the kernel wants it; empty: none
};

std::vector<uint8_t> MinimumMask(const LowBitMaxPoolOp& op, const BufferLayout& layout) {
  std::vector<uint8_t> mask;
  for (size_t c = 0; c < op.minimum.size(); ++c) {
    if (op.minimum[c] == 0) continue;
    mask.resize(static_cast<size_t>(layout.pixel_bytes));
    if (layout.storage == Storage::kBits) {
      mask[c / 8] = static_cast<uint8_t>(mask[c / 8] | (1U << (c % 8)));
    } else {
      mask[c] = 0xff;
    }
  }
  return mask;
}

// Whether every window of the axis holds a pixel of the image, and no place overflows.
bool WindowsHoldPixels(const WindowAxis& axis) {
  if (axis.kernel < 1 || axis.stride < 1 || axis.dilation < 1 || axis.pad < 0 || !ReachFits(axis)) {
    return false;
  }
  for (int64_t o = 0; o < axis.out; ++o) {
    const int64_t start = o * axis.stride - axis.pad;
    // The first tap at or behind the image's start.
    const int64_t tap = start >= 0 ? 0 : (-start + axis.dilation - 1) / axis.dilation;
    if (tap >= axis.kernel || start + tap * axis.dilation >= axis.in) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<StepPtr> MakePoolStep(const LowBitMaxPoolOp& op, const Operand& input,
                                     const Operand& output, StepBuilder& builder) {
  const BufferLayout& in = input.layout;
  const BufferLayout& out = output.layout;
  if (in.storage != out.storage || in.channels != out.channels ||
      (!op.minimum.empty() && static_cast<int64_t>(op.minimum.size()) != in.channels)) {
    return absl::InternalError("pooling between values of different storage or channels");
  }
  if (!WindowsHoldPixels(
          {in.height, out.height, op.kernel_h, op.stride_h, op.dilation_h, op.pad_top}) ||
      !WindowsHoldPixels(
          {in.width, out.width, op.kernel_w, op.stride_w, op.dilation_w, op.pad_left})) {
    return absl::UnimplementedError("a pooling window that lies wholly in the padding");
  }
  auto step = std::make_unique<PoolStep>();
  step->input = input;
  step->output = output;
  const PoolKernel& kernel = *builder.kernels().pool;
  step->pool = in.storage == Storage::kBits ? kernel.bits : kernel.codes;
  step->minimum = MinimumMask(op, in);

  PoolArgs& args = step->args;
  args.in_image = in.image_bytes;
  args.in_row = in.row_bytes;
  args.in_pixel = static_cast<int32_t>(in.pixel_bytes);
  args.in_h = static_cast<int32_t>(in.height);
  args.in_w = static_cast<int32_t>(in.width);
  args.out_h = static_cast<int32_t>(out.height);
  args.out_w = static_cast<int32_t>(out.width);
  args.kernel_h = static_cast<int32_t>(op.kernel_h);
  args.kernel_w = static_cast<int32_t>(op.kernel_w);
  args.stride_h = static_cast<int32_t>(op.stride_h);
  args.stride_w = static_cast<int32_t>(op.stride_w);
  args.dilation_h = static_cast<int32_t>(op.dilation_h);
  args.dilation_w = static_cast<int32_t>(op.dilation_w);
  args.pad_top = static_cast<int32_t>(op.pad_top);
  args.pad_left = static_cast<int32_t>(op.pad_left);
  args.pixel_bytes = static_cast<int32_t>(in.pixel_bytes);
  args.out_image = out.image_bytes;
  args.out_row = out.row_bytes;
  args.out_pixel = out.pixel_bytes;

  StepInfo& info = step->mutable_info();
  info.kernel = kernel.name;
  info.weight_bytes = static_cast<int64_t>(step->minimum.size());
  return step;
}

}  // namespace bitmill
