// Convolutions as kernels/cuda/conv_tile.cuh reads them: weights in stages of 64 bytes an output,
// and thresholds as limits of the sum.
#include "backends/device/tile_conv.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr int64_t kBlock = device::kBlock;
constexpr int64_t kStageBytes = 64;  // of an output, and of a pixel
constexpr int64_t kStageWords = 8;
constexpr int64_t kTileThreads = 128;
constexpr int64_t kMaxImageBytes = int64_t{1} << 36;

enum class Operand { kBits, kTernary, kSpread, kCodes };

Operand OperandOf(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in) {
  if (!in.bits()) return Operand::kCodes;
  if (tile.tensor == ConvTensor::kBytes) return Operand::kSpread;
  return op.weight_bits == 1 ? Operand::kBits : Operand::kTernary;
}

struct TileFilter {
  Operand operand;
  const int8_t* weights;  // [outputs][channels][taps]
  int64_t tile_outputs;   // that lie beside one another
  int64_t outputs, channels, taps;
  int64_t span;  // words of 8 bytes a pixel

  TileFilter(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in)
      : operand(OperandOf(op, tile, in)),
        weights(op.weights->span<int8_t>().data()),
        tile_outputs(tile.outputs),
        outputs(op.weights->shape()[0]),
        channels(op.weights->shape()[1]),
        taps(op.weights->shape()[2] * op.weights->shape()[3]),
        span(in.pixel_bytes / 8 / op.groups) {}

  int64_t tiles() const { return (outputs + tile_outputs - 1) / tile_outputs; }
  int64_t blocks() const { return tiles() * tile_outputs / kBlock; }  // of 64
  int64_t planes() const { return operand == Operand::kTernary ? 2 : 1; }
  int64_t stages() const {
    return operand == Operand::kSpread ? taps * span
                                       : (taps * span + kStageWords - 1) / kStageWords;
  }
  int64_t bytes() const { return blocks() * stages() * planes() * kBlock * kStageBytes; }
  int8_t at(int64_t output, int64_t channel, int64_t tap) const {
    return weights[(output * channels + channel) * taps + tap];
  }
  int32_t TapSum(int64_t output, int64_t tap) const {
    int32_t sum = 0;
    for (int64_t c = 0; c < channels; ++c) sum += at(output, c, tap);
    return sum;
  }
};

// uchar[tiles][stages][planes][outputs of a tile][64].
std::vector<uint8_t> PackStages(const TileFilter& filter) {
  std::vector<uint8_t> image(static_cast<size_t>(filter.bytes()), 0);
  const bool bits = filter.operand == Operand::kBits || filter.operand == Operand::kTernary;
  const auto line = [&](int64_t output, int64_t stage, int64_t plane) {
    const int64_t tile =
        (output / filter.tile_outputs * filter.stages() + stage) * filter.planes() + plane;
    return image.data() + (tile * filter.tile_outputs + output % filter.tile_outputs) * kStageBytes;
  };
  for (int64_t o = 0; o < filter.outputs; ++o) {
    for (int64_t c = 0; c < filter.channels; ++c) {
      for (int64_t t = 0; t < filter.taps; ++t) {
        const int8_t weight = filter.at(o, c, t);
        if (filter.operand == Operand::kSpread) {  // a word of bits is a stage of bytes
          line(o, t * filter.span + c / 64, 0)[c % 64] = static_cast<uint8_t>(weight);
          continue;
        }
        const int64_t byte = t * filter.span * 8 + (bits ? c / 8 : c);
        const int64_t stage = byte / kStageBytes, place = byte % kStageBytes;
        if (!bits) {
          line(o, stage, 0)[place] = static_cast<uint8_t>(weight);
          continue;
        }
        const auto bit = static_cast<uint8_t>(1U << (c % 8));
        const bool first = filter.operand == Operand::kBits ? weight < 0 : weight > 0;
        if (first) line(o, stage, 0)[place] |= bit;
        if (filter.operand == Operand::kTernary && weight >= 0) line(o, stage, 1)[place] |= bit;
      }
    }
  }
  return image;
}

// What a tap outside adds for each unit of its weights: it was summed up as the value of a zero,
// and is worth `border`.
int32_t EdgeFactor(const LowBitConvOp& op, const DeviceValue& in) {
  const int32_t border = op.padding == Padding::kZero      ? 0
                         : op.padding == Padding::kPlusOne ? 1
                                                           : -1;
  return in.bits() ? border - 1 : border + in.code.zero_point;
}

int32_t Clamp(int64_t value) {
  return static_cast<int32_t>(std::clamp<int64_t>(value, std::numeric_limits<int32_t>::min(),
                                                  std::numeric_limits<int32_t>::max()));
}

// A bit is set when the sum, or its negative where flip is set, does not reach the threshold; one
// of 2^31 - 1 is never reached.
void SetLimits(const LowBitConvOp& op, const TileFilter& filter, const std::vector<int32_t>& totals,
               PlanWriter& writer, DeviceStep& step) {
  std::vector<int32_t> limits(totals.size(), std::numeric_limits<int32_t>::min());
  std::vector<uint8_t> inverted(static_cast<size_t>(filter.blocks() * kBlock / 8), 0);
  for (size_t o = 0; o < op.thresholds.size(); ++o) {
    const int64_t threshold = op.thresholds[o];
    const bool flip = op.flip[o] != 0;
    if (threshold == std::numeric_limits<int32_t>::max()) {
      limits[o] = flip ? std::numeric_limits<int32_t>::min() : std::numeric_limits<int32_t>::max();
    } else {
      limits[o] = Clamp((flip ? 1 - threshold : threshold) - totals[o]);
    }
    if (flip) inverted[o / 8] = static_cast<uint8_t>(inverted[o / 8] | 1U << (o % 8));
  }
  step[device::kLimits] = writer.AddConstant(limits);
  step[device::kLimitFlip] = writer.AddConstant(inverted);
}

// As TileShape in kernels/cuda/conv_tile.cuh and GroupShape in conv_group.cuh have them.
int32_t SharedBytes(int64_t planes, const ConvTile& tile) {
  const int64_t stage = (tile.pixels + planes * tile.outputs) * kStageBytes;
  const int64_t stages = planes == 2 && tile.pixels == 128 && !tile.by_group ? 3 : 4;
  return static_cast<int32_t>(
      std::max(stage * stages, int64_t{tile.pixels} * (tile.outputs + 4) * 4));
}

// Dense layers, and others of one pixel whose window is the image as it lies, have another kernel
// for few rows: FewShape in kernels/cuda/few_rows.cuh.
void SetFewRows(const LowBitConvOp& op, Operand operand, const DeviceValue& in,
                const DeviceValue& out, DeviceStep& step) {
  constexpr const char* kNames[] = {"bm_few_bits", "bm_few_ternary", "bm_few_spread",
                                    "bm_few_codes"};
  constexpr int64_t kRows = 4, kOutputs = 8, kMaxGridY = 65535;
  const bool padded = op.pad_top > 0 || op.pad_left > 0 || op.pad_bottom > 0 || op.pad_right > 0;
  const bool whole = op.weights->shape()[2] == in.height && op.weights->shape()[3] == in.width &&
                     op.dilation_h == 1 && op.dilation_w == 1;
  if (op.groups > 1 || out.pixels() != 1 || padded || !whole ||
      step[device::kOutOctets] > kMaxGridY)
    return;
  step.few_kernel = kNames[static_cast<int>(operand)];
  step.few_tiles = {kRows, kOutputs, static_cast<int32_t>(kTileThreads),
                    static_cast<int32_t>(kTileThreads * kRows * kOutputs * 4 / 32)};
}

}  // namespace

bool TilesFit(const ConvShape& shape, const ConvTile& tile) {
  if (shape.groups == 1) return true;
  const int64_t unit = shape.bits_in ? 64 : 8;  // channels of a word
  return shape.channels % unit == 0 && shape.outputs / shape.groups % tile.outputs == 0;
}

std::string TileKernelName(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in) {
  constexpr const char* kNames[] = {"bits", "ternary", "spread", "codes"};
  const char* const name = kNames[static_cast<int>(OperandOf(op, tile, in))];
  if (tile.by_group) {
    return absl::StrCat("bm_group_", name, "_", tile.pixels, "x", tile.outputs);
  }
  return absl::StrCat("bm_tile_", name, "_", tile.pixels);
}

absl::Status SetTiles(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in,
                      const DeviceValue& out, PlanWriter& writer, DeviceStep& step) {
  const TileFilter filter(op, tile, in);
  if (filter.bytes() > kMaxImageBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "weights of ", filter.bytes(), " bytes in tiles, a device kernel takes ", kMaxImageBytes));
  }
  step.tiles = {tile.pixels, tile.outputs, static_cast<int32_t>(kTileThreads),
                SharedBytes(filter.planes(), tile)};
  SetFewRows(op, filter.operand, in, out, step);
  step[device::kTileOutputs] = tile.outputs;
  step[device::kPixelWords] = static_cast<int32_t>(in.pixel_bytes / 8);
  step[device::kGroupOutputs] =
      static_cast<int32_t>(op.groups > 1 ? filter.outputs / op.groups : filter.blocks() * kBlock);
  step[device::kSpan] = static_cast<int32_t>(filter.span);
  step[device::kBlocks] = static_cast<int32_t>(filter.blocks());
  step[device::kStages] = static_cast<int32_t>(filter.stages());
  step[device::kWeights] = writer.AddConstant(PackStages(filter));
  const int32_t factor = EdgeFactor(op, in);
  const auto outputs = static_cast<size_t>(filter.blocks() * kBlock);
  std::vector<int32_t> totals(outputs, 0);
  std::vector<int32_t> edges(outputs * static_cast<size_t>(filter.taps), 0);
  for (int64_t o = 0; o < filter.outputs; ++o) {
    for (int64_t t = 0; t < filter.taps; ++t) {
      const int32_t sum = filter.TapSum(o, t);
      totals[static_cast<size_t>(o)] += in.bits() ? sum : -in.code.zero_point * sum;
      edges[static_cast<size_t>(t) * outputs + static_cast<size_t>(o)] = factor * sum;
    }
  }
  step[device::kTotals] = writer.AddConstant(totals);
  const bool padded = op.pad_top > 0 || op.pad_left > 0 || op.pad_bottom > 0 || op.pad_right > 0;
  if (padded && factor != 0) step[device::kEdgeSums] = writer.AddConstant(edges);
  if (out.bits() && op.epilogue == LowBitConvOp::Epilogue::kThresholds) {
    SetLimits(op, filter, totals, writer, step);
  }
  step[device::kItems] = static_cast<int32_t>(out.pixels()) * step[device::kOutOctets];
  return absl::OkStatus();
}

}  // namespace bitmill
