// Convolutions of bits with 1-bit weights as kernels/opencl/conv_slices.cl reads them.
#include "backends/device/slice_conv.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "backends/device/block_conv.h"

namespace bitmill {
namespace {

constexpr int64_t kBlock = device::kBlock, kOctet = device::kOctet;
constexpr int64_t kMaxSum = (int64_t{1} << device::kSlices) - 1;  // is a limit that nothing reaches
constexpr int64_t kMinWidth = 5;  // below, most lanes of a vector would have no pixel

// Which taps of a window lie outside, as bits.
using Outside = uint64_t;

// The taps of one dimension that lie outside, at each place.
std::vector<Outside> OutsideOf(int64_t places, int64_t size, int64_t taps, int64_t stride,
                               int64_t dilation, int64_t pad) {
  std::vector<Outside> all;
  for (int64_t at = 0; at < places; ++at) {
    Outside outside = 0;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t place = at * stride - pad + t * dilation;
      if (place < 0 || place >= size) outside |= Outside{1} << t;
    }
    all.push_back(outside);
  }
  return all;
}

// Numbers places by their outside, and keeps one of each.
struct Cases {
  std::vector<int32_t> number;   // of each place
  std::vector<Outside> outside;  // of each number

  explicit Cases(const std::vector<Outside>& places) {
    std::map<Outside, int32_t> known;
    for (const Outside one : places) {
      const auto [found, fresh] = known.emplace(one, static_cast<int32_t>(outside.size()));
      if (fresh) outside.push_back(one);
      number.push_back(found->second);
    }
  }
};

struct SliceFilter {
  const int8_t* weights;  // [outputs][channels][kernel_h][kernel_w]
  int64_t outputs, channels, kernel_h, kernel_w;

  explicit SliceFilter(const LowBitConvOp& op)
      : weights(op.weights->span<int8_t>().data()),
        outputs(op.weights->shape()[0]),
        channels(op.weights->shape()[1]),
        kernel_h(op.weights->shape()[2]),
        kernel_w(op.weights->shape()[3]) {}

  int64_t taps() const { return kernel_h * kernel_w; }
  int64_t blocks() const { return (outputs + kBlock - 1) / kBlock; }
  int8_t at(int64_t output, int64_t channel, int64_t tap) const {
    return weights[(output * channels + channel) * taps() + tap];
  }
};

std::vector<uint64_t> PackSlices(const SliceFilter& filter) {
  std::vector<uint64_t> packed(
      static_cast<size_t>(filter.blocks() * filter.taps() * filter.channels), 0);
  for (int64_t o = 0; o < filter.outputs; ++o) {
    for (int64_t c = 0; c < filter.channels; ++c) {
      for (int64_t t = 0; t < filter.taps(); ++t) {
        if (filter.at(o, c, t) >= 0) continue;
        packed[static_cast<size_t>((o / kBlock * filter.taps() + t) * filter.channels + c)] |=
            uint64_t{1} << (o % kBlock);
      }
    }
  }
  return packed;
}

// [outputs][taps]
std::vector<int64_t> TapSums(const SliceFilter& filter) {
  std::vector<int64_t> sums(static_cast<size_t>(filter.outputs * filter.taps()), 0);
  for (int64_t o = 0; o < filter.outputs; ++o) {
    for (int64_t c = 0; c < filter.channels; ++c) {
      for (int64_t t = 0; t < filter.taps(); ++t) {
        sums[static_cast<size_t>(o * filter.taps() + t)] += filter.at(o, c, t);
      }
    }
  }
  return sums;
}

// Slices of the least number of bits that differ which sets an output's bit, inverted.
// [blocks][cases][kLimitSlices]
std::vector<uint64_t> SliceLimits(const LowBitConvOp& op, const SliceFilter& filter, int64_t border,
                                  const Cases& rows, const Cases& columns) {
  const std::vector<int64_t> sums = TapSums(filter);
  const auto cases = static_cast<int64_t>(rows.outside.size() * columns.outside.size());
  std::vector<uint64_t> limits(static_cast<size_t>(filter.blocks() * cases * device::kLimitSlices),
                               ~uint64_t{0});
  for (int64_t o = 0; o < filter.blocks() * kBlock; ++o) {
    for (int64_t one = 0; one < cases; ++one) {
      const Outside row = rows.outside[static_cast<size_t>(one) / columns.outside.size()];
      const Outside column = columns.outside[static_cast<size_t>(one) % columns.outside.size()];
      int64_t limit = DifferenceLimit(op, filter.channels * filter.taps(), o);
      for (int64_t t = 0; o < filter.outputs && t < filter.taps(); ++t) {
        const bool outside = ((row >> (t / filter.kernel_w)) & 1) != 0 ||
                             ((column >> (t % filter.kernel_w)) & 1) != 0;
        if (outside) limit += (border - 1) * sums[static_cast<size_t>(o * filter.taps() + t)];
      }
      // Twice the difference is more than the limit; shifts round down, also below zero.
      const int64_t least = std::clamp<int64_t>((limit >> 1) + 1, 0, kMaxSum);
      uint64_t* const words = limits.data() + (o / kBlock * cases + one) * device::kLimitSlices;
      for (int64_t k = 0; k < device::kSlices; ++k) {
        if (((least >> k) & 1) != 0) words[k] &= ~(uint64_t{1} << (o % kBlock));
      }
    }
  }
  return limits;
}

}  // namespace

bool ConvShape::has_slices() const {
  return has_blocks() && bits_out && channels % kBlock == 0 && stride_w == 1 && dilation_w == 1 &&
         out_width >= kMinWidth && kernel_h <= 64 &&
         kernel_w <= device::kSpreadColumns - 2 * kOctet + 1 &&
         kernel_h * kernel_w * channels < kMaxSum;
}

void SetSlices(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in,
               const DeviceValue& out, PlanWriter& writer, DeviceStep& step) {
  const SliceFilter filter(op);
  const auto set = [&step](device::StepParam param, int64_t value) {
    step[param] = static_cast<int32_t>(value);
  };
  set(device::kSpan, filter.channels / kBlock);
  set(device::kBlocks, filter.blocks());
  CutSlices(tile, out, step);
  step[device::kWeights] = writer.AddConstant(PackSlices(filter));
  // A border of +1 is what a tap outside counts as.
  const bool cased = op.padding != Padding::kPlusOne;
  const int64_t border = op.padding == Padding::kZero ? 0 : -1;
  const auto outside = [cased](std::vector<Outside> places) {
    if (!cased) std::ranges::fill(places, 0);
    return Cases(places);
  };
  const Cases rows = outside(
      OutsideOf(out.height, in.height, filter.kernel_h, op.stride_h, op.dilation_h, op.pad_top));
  const Cases columns = outside(
      OutsideOf(out.width, in.width, filter.kernel_w, op.stride_w, op.dilation_w, op.pad_left));
  std::vector<int32_t> numbers;
  numbers.reserve(rows.number.size() + columns.number.size());
  for (const int32_t row : rows.number) {
    numbers.push_back(row * static_cast<int32_t>(columns.outside.size()));
  }
  numbers.insert(numbers.end(), columns.number.begin(), columns.number.end());
  step[device::kSliceCases] = writer.AddConstant(numbers);
  const std::vector<uint64_t> limits = SliceLimits(op, filter, border, rows, columns);
  set(device::kSliceLimits, static_cast<int64_t>(limits.size()) / filter.blocks());
  step[device::kLimits] = writer.AddConstant(limits);
  std::vector<uint64_t> flips(static_cast<size_t>(filter.blocks()), 0);
  for (size_t o = 0; o < op.flip.size(); ++o) {
    if (op.flip[o] != 0) flips[o / kBlock] |= uint64_t{1} << (o % kBlock);
  }
  step[device::kLimitFlip] = writer.AddConstant(flips);
}

void CutSlices(const ConvTile& tile, const DeviceValue& out, DeviceStep& step) {
  const int64_t vectors = out.width > kOctet ? 2 : 1, run = vectors * kOctet;
  const int64_t all = step[device::kBlocks], most = device::kMaxSliceSums / vectors;
  const int64_t lines = std::clamp<int64_t>(tile.lines, 1, std::min(out.height, most));
  const int64_t blocks = std::clamp<int64_t>(tile.blocks, 1, std::min(all, most / lines));
  const int64_t runs = (out.width + run - 1) / run;
  step.group_items = kSliceGroup;
  step[device::kRun] = static_cast<int32_t>(run);
  step[device::kRuns] = static_cast<int32_t>(runs);
  step[device::kVectors] = static_cast<int32_t>(vectors);
  step[device::kLines] = static_cast<int32_t>(lines);
  step[device::kSliceBlocks] = static_cast<int32_t>(blocks);
  step[device::kItems] =
      static_cast<int32_t>((out.height + lines - 1) / lines * runs * ((all + blocks - 1) / blocks));
}

}  // namespace bitmill
