// Convolutions of bits with 1-bit weights as kernels/opencl/conv_block.cl reads them: blocks of 64
// outputs, and thresholds as limits of the number of bits that differ.
#include "backends/device/block_conv.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bitmill {
namespace {

constexpr int64_t kOctet = device::kOctet, kBlock = device::kBlock;
constexpr int64_t kWordBits = 64;
constexpr int64_t kNever = int64_t{1} << 40;  // more than any difference, either way
constexpr int64_t kDefaultRun = 8;
constexpr int64_t kMinOutputs = 24;  // below, most lanes would have none

// Where output `o` lies among blocks of [8][8], in units of one output.
size_t PlaceOf(int64_t o) {
  return static_cast<size_t>(o / kBlock * kBlock + o % kOctet * kOctet + o % kBlock / kOctet);
}

struct BlockFilter {
  const int8_t* weights;  // [outputs][channels][kernel_h][kernel_w]
  int64_t outputs, channels, kernel_h, kernel_w;

  explicit BlockFilter(const LowBitConvOp& op)
      : weights(op.weights->span<int8_t>().data()),
        outputs(op.weights->shape()[0]),
        channels(op.weights->shape()[1]),
        kernel_h(op.weights->shape()[2]),
        kernel_w(op.weights->shape()[3]) {}

  int64_t taps() const { return kernel_h * kernel_w; }
  int64_t span() const { return (channels + kWordBits - 1) / kWordBits; }
  int64_t blocks() const { return (outputs + kBlock - 1) / kBlock; }
  // Taps column by column, as patches have them.
  int64_t tap(int64_t t) const { return t % kernel_h * kernel_w + t / kernel_h; }
  int8_t at(int64_t output, int64_t channel, int64_t t) const {
    return weights[(output * channels + channel) * taps() + tap(t)];
  }
};

std::vector<uint64_t> PackBlocks(const BlockFilter& filter) {
  const int64_t words = filter.taps() * filter.span();
  std::vector<uint64_t> packed(static_cast<size_t>(filter.blocks() * kBlock * words), 0);
  for (int64_t o = 0; o < filter.outputs; ++o) {
    const auto place = static_cast<int64_t>(PlaceOf(o));
    uint64_t* const turn = packed.data() + place / kOctet * words * kOctet + place % kOctet;
    for (int64_t c = 0; c < filter.channels; ++c) {
      for (int64_t t = 0; t < filter.taps(); ++t) {
        if (filter.at(o, c, t) >= 0) continue;
        turn[(t * filter.span() + c / kWordBits) * kOctet] |= uint64_t{1} << (c % kWordBits);
      }
    }
  }
  return packed;
}

// A tap outside counts as +1; the border is `border`.
std::vector<int32_t> EdgeSums(const BlockFilter& filter, int32_t border) {
  const int64_t taps = filter.taps();
  std::vector<int32_t> sums(static_cast<size_t>(filter.blocks() * kBlock * taps), 0);
  for (int64_t o = 0; o < filter.outputs; ++o) {
    const auto place = static_cast<int64_t>(PlaceOf(o % kBlock));
    for (int64_t t = 0; t < taps; ++t) {
      int32_t sum = 0;
      for (int64_t c = 0; c < filter.channels; ++c) sum += filter.at(o, c, t);
      sums[static_cast<size_t>((o / kBlock * taps + t) * kBlock + place)] = (border - 1) * sum;
    }
  }
  return sums;
}

void SetLimits(const LowBitConvOp& op, int64_t total, PlanWriter& writer, DeviceStep& step) {
  const int64_t blocks = step[device::kBlocks];
  std::vector<int64_t> limits(static_cast<size_t>(blocks * kBlock), kNever);
  std::vector<uint8_t> inverted(static_cast<size_t>(blocks * kOctet), 0);
  for (size_t o = 0; o < op.thresholds.size(); ++o) {
    const auto output = static_cast<int64_t>(o);
    limits[PlaceOf(output)] = DifferenceLimit(op, total, output);
    if (op.flip[o] != 0) inverted[o / 8] = static_cast<uint8_t>(inverted[o / 8] | 1U << (o % 8));
  }
  step[device::kLimits] = writer.AddConstant(limits);
  step[device::kLimitFlip] = writer.AddConstant(inverted);
}

}  // namespace

// A bit is set when the accumulator, or its negative where flip is set, does not reach the
// threshold; one of 2^31 - 1 is never reached.
int64_t DifferenceLimit(const LowBitConvOp& op, int64_t total, int64_t output) {
  const auto o = static_cast<size_t>(output);
  if (o >= op.thresholds.size()) return kNever;
  const int64_t threshold = op.thresholds[o];
  const bool flip = op.flip[o] != 0;
  if (threshold == std::numeric_limits<int32_t>::max()) return flip ? kNever : -kNever;
  return flip ? total + threshold - 1 : total - threshold;
}

std::string ConvShape::Text() const {
  return absl::StrCat(out_height, "x", out_width, " of ", outputs, " from ", channels, ", ",
                      kernel_h, "x", kernel_w, ", stride ", stride_h, "x", stride_w, ", dilation ",
                      dilation_w, bits_out ? ", bits" : "");
}

std::string ConvShape::Key() const {
  return absl::StrCat(Text(), ", kernels ", bits_in ? "of bits" : "of codes", ", ",
                      ternary ? "ternary" : absl::StrCat(weight_bits, "-bit"), " weights, ", groups,
                      " groups, ", rows, " rows");
}

std::string ConvTile::Text() const {
  std::string text = lines > 0 ? absl::StrCat("slices of ", lines, lines > 1 ? " lines" : " line",
                                              ", ", blocks, blocks > 1 ? " blocks" : " block")
                     : run > 0 ? absl::StrCat("runs of ", run, blocks > 1 ? " by 16 outputs" : "")
                               : "";
  if (group_items > 0) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", "groups of ", group_items);
  }
  if (gain > 0.0) {
    absl::StrAppend(&text, text.empty() ? "" : ", ",
                    absl::StrFormat("measured %.2f times as fast", gain));
  }
  return text;
}

int64_t ConvShape::max_run() const {
  const int64_t column = kernel_h * ((channels + kWordBits - 1) / kWordBits);
  const int64_t columns = device::kPatchWords / column;
  if (columns < kernel_w) return 0;
  // Windows that overlap are neighbours in memory only without dilation.
  return dilation_w > 1 ? 1 : std::min(out_width, (columns - kernel_w) / stride_w + 1);
}

ConvTile DefaultConvTile(const ConvShape& shape) {
  if (shape.has_code_runs()) {
    const bool pixels = shape.out_height * shape.out_width > 1;
    return {.run = pixels ? kCodeRun : 1, .blocks = shape.has_wide_codes() ? 2 : 1};
  }
  if (shape.outputs < kMinOutputs || !shape.has_blocks() || shape.max_run() == 0) return {};
  return {static_cast<int32_t>(std::min(kDefaultRun, shape.max_run())), kBlockGroups[0]};
}

ConvShape ShapeOf(const LowBitConvOp& op, const DeviceValue& in, const DeviceValue& out) {
  ConvShape shape;
  shape.bits_in = in.bits();
  shape.ternary = op.ternary;
  shape.weight_bits = op.weight_bits;
  shape.groups = op.groups;
  shape.outputs = op.weights->shape()[0];
  shape.channels = op.weights->shape()[1];
  shape.kernel_h = op.weights->shape()[2];
  shape.kernel_w = op.weights->shape()[3];
  shape.out_height = out.height;
  shape.out_width = out.width;
  shape.stride_h = op.stride_h;
  shape.stride_w = op.stride_w;
  shape.dilation_w = op.dilation_w;
  shape.bits_out = out.bits() && op.epilogue == LowBitConvOp::Epilogue::kThresholds;
  return shape;
}

void SetBlocks(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& out,
               PlanWriter& writer, DeviceStep& step) {
  const BlockFilter filter(op);
  const int64_t total = filter.channels * filter.taps();
  step[device::kBlocks] = static_cast<int32_t>(filter.blocks());
  CutBlocks(tile, out, step);
  step[device::kTotal] = static_cast<int32_t>(total);
  step[device::kSpan] = static_cast<int32_t>(filter.span());
  step[device::kWeights] = writer.AddConstant(PackBlocks(filter));
  const bool padded = op.pad_top > 0 || op.pad_left > 0 || op.pad_bottom > 0 || op.pad_right > 0;
  if (padded && op.padding != Padding::kPlusOne) {
    const int32_t border = op.padding == Padding::kZero ? 0 : -1;
    step[device::kEdgeSums] = writer.AddConstant(EdgeSums(filter, border));
  }
  if (out.bits() && op.epilogue == LowBitConvOp::Epilogue::kThresholds) {
    SetLimits(op, total, writer, step);
  }
}

void CutBlocks(const ConvTile& tile, const DeviceValue& out, DeviceStep& step) {
  const int64_t runs = (out.width + tile.run - 1) / tile.run;
  step.group_items = tile.group_items;
  step[device::kRun] = tile.run;
  step[device::kRuns] = static_cast<int32_t>(runs);
  step[device::kItems] = static_cast<int32_t>(out.height * runs * step[device::kBlocks]);
}

}  // namespace bitmill
