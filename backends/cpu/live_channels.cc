#include "backends/cpu/live_channels.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kWordBits = 64;
// Of codes: 2-bit weights of four steps.
constexpr int64_t kUnitChannels = 16;
constexpr double kMostLeft = 0.8;  // of the blocks that are not empty anyway

class LiveChannelsStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    std::byte* const base = output.Base(run);
    PrepareBuffer(output.layout, base, run.rows, /*whole_pixels=*/!masks.empty());
    for (int64_t r = 0; r < run.rows; ++r) {
      const std::byte* src = input.Row(run, r) + input.layout.interior_bytes;
      std::byte* dst = base + r * output.layout.image_bytes + output.layout.interior_bytes;
      for (int64_t y = 0; y < input.layout.height; ++y) {
        masks.empty() ? CopyCodes(src, dst) : CopyBits(src, dst);
        src += input.layout.row_bytes;
        dst += output.layout.row_bytes;
      }
    }
    return absl::OkStatus();
  }

  void CopyBits(const std::byte* src, std::byte* dst) const {
    GatherArgs args = {};
    args.src = reinterpret_cast<const uint64_t*>(src);
    args.src_pixel = input.layout.pixel_bytes / 8;
    args.pixels = static_cast<int32_t>(input.layout.width);
    args.words = static_cast<int32_t>(masks.size());
    args.masks = masks.data();
    args.dst = reinterpret_cast<uint64_t*>(dst);
    args.dst_pixel = output.layout.pixel_bytes / 8;
    kernel->run(args);
  }

  void CopyCodes(const std::byte* src, std::byte* dst) const {
    for (int64_t x = 0; x < input.layout.width; ++x) {
      std::byte* out = dst;
      for (const int32_t channel : channels) *out++ = src[channel];
      src += input.layout.pixel_bytes;
      dst += output.layout.pixel_bytes;
    }
  }

  Operand input, output;
  std::vector<int32_t> channels;
  std::vector<uint64_t> masks;  // of bits
  const GatherKernel* kernel = nullptr;
};

// used[c]: whether a weight of input channel c is not zero; zero at first.
absl::Status MarkUsed(const Tensor& weights, uint8_t* used) {
  if (!weights.has_elements()) {
    return absl::FailedPreconditionError("the plan file does not say which channels are read");
  }
  const Shape& shape = weights.shape();
  const int64_t taps = shape.size() == 4 ? shape[2] * shape[3] : 1;
  const int8_t* w = weights.span<int8_t>().data();
  for (int64_t o = 0; o < shape[0]; ++o) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      for (int64_t t = 0; t < taps; ++t) used[c] = used[c] | static_cast<uint8_t>(*w++ != 0);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> LiveChannelsToCopy(const LowBitConvOp& op, bool bits,
                                                        StepBuilder& builder) {
  if (op.groups != 1 || op.weight_bits == 1) return std::vector<int32_t>{};
  const int64_t channels = op.weights->shape()[1];
  BITMILL_ASSIGN_OR_RETURN(const PackedBytes used,
                           builder.FromOthers("live channels", channels, [&](std::byte* to) {
                             return MarkUsed(*op.weights, reinterpret_cast<uint8_t*>(to));
                           }));
  const int64_t block = bits ? kWordBits : kUnitChannels;
  std::vector<int32_t> live;
  int64_t blocks = 0, last = -1;  // that hold a live channel
  for (int64_t c = 0; c < channels; ++c) {
    if (used.as<uint8_t>()[c] == 0) continue;
    live.push_back(static_cast<int32_t>(c));
    if (c / block != last) ++blocks;
    last = c / block;
  }
  const auto left = (static_cast<int64_t>(live.size()) + block - 1) / block;
  const bool pays = static_cast<double>(left) <= kMostLeft * static_cast<double>(blocks);
  return pays ? live : std::vector<int32_t>{};
}

LowBitConvOp WithChannels(const LowBitConvOp& op, const std::vector<int32_t>& channels) {
  Shape shape = op.weights->shape();
  const int64_t before = shape[1];
  const int64_t taps = shape.size() == 4 ? shape[2] * shape[3] : 1;
  shape[1] = static_cast<int64_t>(channels.size());
  LowBitConvOp smaller = op;
  if (!op.weights->has_elements()) {
    smaller.weights = std::make_shared<const Tensor>(*Tensor::WithoutElements(DType::kInt8, shape));
    return smaller;
  }
  auto weights = std::make_shared<Tensor>(*Tensor::Create(DType::kInt8, shape));
  const int8_t* const from = op.weights->span<int8_t>().data();
  int8_t* out = weights->span<int8_t>().data();
  for (int64_t o = 0; o < shape[0]; ++o) {
    for (const int32_t c : channels) out = std::copy_n(from + (o * before + c) * taps, taps, out);
  }
  smaller.weights = std::move(weights);
  return smaller;
}

StepPtr MakeLiveChannelsStep(const Operand& input, const Operand& output,
                             const std::vector<int32_t>& channels, const StepBuilder& builder) {
  auto step = std::make_unique<LiveChannelsStep>();
  step->input = input;
  step->output = output;
  step->channels = channels;
  step->kernel = builder.kernels().gather;
  const bool bits = input.layout.storage == Storage::kBits;
  if (bits) step->masks.assign(static_cast<size_t>((input.layout.channels + 63) / kWordBits), 0);
  for (const int32_t c : channels) {
    if (bits) step->masks[static_cast<size_t>(c / kWordBits)] |= uint64_t{1} << (c % kWordBits);
  }
  StepInfo& info = step->mutable_info();
  info.kernel = absl::StrCat(bits ? step->kernel->name : "copy", " ", channels.size(), " of ",
                             input.layout.channels);
  info.output_bytes = output.layout.image_bytes;
  return step;
}

}  // namespace bitmill
