#include "backends/cpu/dense_slices.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// A slice takes some 10 us to stream from a cache: what a thread is woken for.
constexpr int64_t kMinSliceBytes = int64_t{256} << 10;
constexpr int64_t kMaxSlices = 8;
constexpr int64_t kUnitChannels = 64;  // words of bits are whole

class SlicedStep final : public Step {
 public:
  explicit SlicedStep(std::vector<StepPtr> slices) : slices_(std::move(slices)) {}

  absl::Status Run(const StepRun& run) const override {
    for (const StepPtr& slice : slices_) BITMILL_RETURN_IF_ERROR(slice->Run(run));
    return absl::OkStatus();
  }

  int64_t parts() const override { return static_cast<int64_t>(slices_.size()); }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    for (int64_t i = first; i < first + count; ++i) {
      BITMILL_RETURN_IF_ERROR(slices_[static_cast<size_t>(i)]->Run(run));
    }
    return absl::OkStatus();
  }

 private:
  std::vector<StepPtr> slices_;
};

// Of values that are `each` for each of `channels` channels, those of some; all of them if they are
// not by channel.
template <typename T>
std::vector<T> Slice(const std::vector<T>& values, int64_t channels, int64_t first, int64_t count) {
  const auto size = static_cast<int64_t>(values.size());
  if (size < channels) return values;
  const int64_t each = size / channels;
  return {values.begin() + first * each, values.begin() + (first + count) * each};
}

SharedTensorI8 SliceWeights(const Tensor& weights, int64_t first, int64_t count) {
  Shape shape = weights.shape();
  const int64_t each = weights.elements() / shape[0];
  shape[0] = count;
  if (!weights.has_elements()) {
    return std::make_shared<const Tensor>(*Tensor::WithoutElements(DType::kInt8, shape));
  }
  auto slice = std::make_shared<Tensor>(*Tensor::Create(DType::kInt8, shape));
  std::copy_n(weights.span<int8_t>().data() + first * each, count * each,
              slice->span<int8_t>().data());
  return slice;
}

LowBitConvOp SliceOp(const LowBitConvOp& op, int64_t first, int64_t count) {
  const int64_t channels = op.weights->shape()[0];
  LowBitConvOp slice = op;
  slice.weights = SliceWeights(*op.weights, first, count);
  slice.scale = Slice(op.scale, channels, first, count);
  slice.bias = Slice(op.bias, channels, first, count);
  slice.thresholds = Slice(op.thresholds, channels, first, count);
  slice.flip = Slice(op.flip, channels, first, count);
  for (ChainStep& step : slice.chain) {
    step.operand = Slice(step.operand, channels, first, count);
    step.operand2 = Slice(step.operand2, channels, first, count);
  }
  return slice;
}

int64_t ChannelBits(const BufferLayout& layout) {
  switch (layout.storage) {
    case Storage::kBits:
      return 1;
    case Storage::kCodes:
      return 8;
    case Storage::kPixelFloat:
    case Storage::kPlain:
      break;
  }
  return 32;
}

Operand SliceOperand(const Operand& whole, int64_t first, int64_t count) {
  Operand slice = whole;
  slice.offset_bytes = whole.offset_bytes + first * ChannelBits(whole.layout) / 8;
  slice.layout.channels = slice.layout.elements = count;
  if (whole.layout.storage != Storage::kPlain) {
    slice.layout.pixel_bytes = slice.layout.row_bytes = count * ChannelBits(whole.layout) / 8;
  }
  return slice;
}

}  // namespace

int64_t DenseSlices(const LowBitConvOp& op, const BufferLayout& output) {
  if (output.pixels() != 1 || op.groups != 1 || output.channels % kUnitChannels != 0 ||
      !output.border.empty()) {
    return 1;
  }
  const int64_t bytes = op.weights->elements() * op.weight_bits / 8;
  return std::clamp<int64_t>(std::min(bytes / kMinSliceBytes, output.channels / kUnitChannels), 1,
                             kMaxSlices);
}

absl::StatusOr<StepPtr> MakeSlicedStep(const LowBitConvOp& op, int64_t slices,
                                       const Operand& output, StepBuilder& builder,
                                       MakeSliceStep make) {
  const int64_t units = output.layout.channels / kUnitChannels;
  std::vector<StepPtr> steps;
  StepInfo info;
  for (int64_t i = 0; i < slices; ++i) {
    const int64_t first = i * units / slices * kUnitChannels;
    const int64_t count = (i + 1) * units / slices * kUnitChannels - first;
    builder.BeginSlice(i);
    absl::StatusOr<StepPtr> step =
        make(SliceOp(op, first, count), SliceOperand(output, first, count));
    builder.EndSlice();
    if (!step.ok()) return step.status();
    const StepInfo& more = (*step)->info();
    info.kernel = absl::StrCat(more.kernel, ", ", slices, " slices");
    info.macs += more.macs;
    info.weight_bytes += more.weight_bytes;
    steps.push_back(*std::move(step));
  }
  auto step = std::make_unique<SlicedStep>(std::move(steps));
  step->mutable_info() = std::move(info);
  step->mutable_info().rows_together = true;
  return step;
}

}  // namespace bitmill
