// Low-bit convolutions: weights as kernels/opencl/conv.cl reads them, and the tables beside them.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/device/block_conv.h"
#include "backends/device/plan_writer.h"
#include "backends/device/slice_conv.h"
#include "backends/device/tile_conv.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kOctet = device::kOctet;
constexpr int64_t kWordBits = 64;

// The weights with what their layout depends on. Channels are those of the whole image.
struct Filter {
  const LowBitConvOp& op;
  const int8_t* weights;  // [outputs][channels a group][taps]
  int64_t outputs, channels, taps;
  int64_t unit;  // channels that lie in one word or byte
  int64_t octets, span = 0;
  std::vector<int32_t> first;  // of each octet: the first word or byte that it reads

  Filter(const LowBitConvOp& conv, int64_t channels_a_unit)
      : op(conv),
        weights(conv.weights->span<int8_t>().data()),
        outputs(conv.weights->shape()[0]),
        channels(conv.weights->shape()[1]),
        taps(conv.weights->shape()[2] * conv.weights->shape()[3]),
        unit(channels_a_unit),
        octets((outputs + kOctet - 1) / kOctet) {
    FindSpans();
  }

  int64_t group_of(int64_t output) const { return output / (outputs / op.groups); }
  int64_t last_of(int64_t octet) const { return std::min(outputs, (octet + 1) * kOctet) - 1; }
  int8_t at(int64_t output, int64_t channel, int64_t tap) const {
    return weights[(output * channels + channel) * taps + tap];
  }

  // fn(place, output, channel, tap): every weight with its place in units from the start of the
  // octet's tap, the bit within the unit told by the channel of the image.
  template <typename Fn>
  void ForEach(Fn fn) const {
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t image_channel = group_of(o) * channels + c;
        const int64_t word = image_channel / unit - first[static_cast<size_t>(o / kOctet)];
        for (int64_t t = 0; t < taps; ++t) {
          const int64_t place = ((o / kOctet * taps + t) * span + word) * kOctet + o % kOctet;
          fn(static_cast<size_t>(place), image_channel % unit, at(o, c, t));
        }
      }
    }
  }

 private:
  // All octets read equally many words, so that weights have one stride.
  void FindSpans() {
    const int64_t words = (channels * op.groups + unit - 1) / unit;
    for (int64_t octet = 0; octet < octets; ++octet) {
      const int64_t low = group_of(octet * kOctet) * channels / unit;
      const int64_t high = ((group_of(last_of(octet)) + 1) * channels - 1) / unit;
      first.push_back(static_cast<int32_t>(low));
      span = std::max(span, high - low + 1);
    }
    for (int32_t& word : first) word = static_cast<int32_t>(std::min<int64_t>(word, words - span));
  }
};

// int[octets][taps][8]: of each output and tap the sum of count(weight) over the channels.
template <typename Count>
std::vector<int32_t> TapTable(const Filter& filter, Count count) {
  std::vector<int32_t> table(static_cast<size_t>(filter.octets * filter.taps * kOctet), 0);
  for (int64_t o = 0; o < filter.outputs; ++o) {
    for (int64_t t = 0; t < filter.taps; ++t) {
      int32_t sum = 0;
      for (int64_t c = 0; c < filter.channels; ++c) sum += count(filter.at(o, c, t));
      table[static_cast<size_t>((o / kOctet * filter.taps + t) * kOctet + o % kOctet)] = sum;
    }
  }
  return table;
}

// Words in which a set bit is a weight of -1; with `ternary` pairs of a mask of those that are not
// 0 and those words.
std::vector<uint64_t> PackWords(const Filter& filter, bool ternary) {
  const size_t words = ternary ? 2 : 1;
  std::vector<uint64_t> packed(
      static_cast<size_t>(filter.octets * filter.taps * filter.span * kOctet) * words, 0);
  filter.ForEach([&](size_t place, int64_t bit, int8_t weight) {
    const uint64_t one = uint64_t{1} << bit;
    if (ternary && weight != 0) packed[place * 2] |= one;
    if (weight < 0) packed[place * words + (ternary ? 1 : 0)] |= one;
  });
  return packed;
}

std::vector<int8_t> PackBytes(const Filter& filter) {
  std::vector<int8_t> packed(
      static_cast<size_t>(filter.octets * filter.taps * filter.span * kOctet), 0);
  filter.ForEach([&](size_t place, int64_t, int8_t weight) { packed[place] = weight; });
  return packed;
}

void SetEpilogue(const LowBitConvOp& op, PlanWriter& writer, const DeviceValue& out,
                 DeviceStep& step) {
  if (op.epilogue == LowBitConvOp::Epilogue::kThresholds) {
    step[device::kEpilogue] = device::kToThresholds;
    step[device::kLevelSteps] = out.code.levels - 1;
    step[device::kThresholds] = writer.AddConstant(op.thresholds);
    step[device::kFlip] = writer.AddConstant(std::vector<int32_t>(op.flip.begin(), op.flip.end()));
    return;
  }
  step[device::kScale] = writer.AddConstant(op.scale);
  step[device::kBias] = writer.AddConstant(op.bias);
  writer.SetChain(op.chain, step);
  step[device::kEpilogue] = device::kToFloat;
  if (op.epilogue == LowBitConvOp::Epilogue::kRequantize) {
    step[device::kEpilogue] = device::kToQuantizer;
    PlanWriter::SetQuantizer(op.quantizer, step);
  }
}

// Bits as codes, for weights that the kernel of bits does not take.
DeviceValue Unpack(const std::string& name, const DeviceValue& bits, PlanWriter& writer) {
  DeviceValue codes = bits;
  codes.code = {CodeKind::kUInt8, bits.code.scale, 1, 3};
  codes.pixel_bytes = (bits.channels + kOctet - 1) / kOctet * kOctet;
  writer.AddBuffer(codes);
  DeviceStep step = writer.Begin("bm_unpack", bits, codes);
  step.name = absl::StrCat(name, " unpack");
  step[device::kItems] = static_cast<int32_t>(codes.pixels()) * step[device::kOutOctets];
  writer.Push(std::move(step));
  return codes;
}

// Items of an octet, or of runs of octets of codes.
void CutOctets(const ConvTile& tile, const DeviceValue& out, DeviceStep& step) {
  step.group_items = tile.group_items;
  int64_t octets = step[device::kOutOctets], pixels = out.pixels();
  if (tile.run > 0) {
    step.kernel = kCodeRunKernel;
    step[device::kRun] = tile.run;
    step[device::kBlocks] = tile.blocks;
    octets = (octets + tile.blocks - 1) / tile.blocks;
    pixels = (pixels + tile.run - 1) / tile.run;
  }
  step[device::kItems] = static_cast<int32_t>(pixels * octets);
}

// Weights and tables by octets; OK unless they are more than a kernel counts.
absl::Status SetOctets(const LowBitConvOp& op, bool bits, const ConvTile& tile,
                       const DeviceValue& in, const DeviceValue& out, PlanWriter& writer,
                       DeviceStep& step) {
  const Filter filter(op, bits ? kWordBits : 1);
  // A group's zeros among the words of other groups want a mask.
  const bool ternary = bits && (op.weight_bits != 1 || op.groups > 1);
  const int64_t units = filter.octets * filter.taps * filter.span * kOctet * (ternary ? 2 : 1);
  if (units > std::numeric_limits<int32_t>::max()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("weights of ", units, " units, a device kernel counts 2^31 - 1"));
  }
  step[device::kTernary] = ternary ? 1 : 0;
  step[device::kSpan] = static_cast<int32_t>(filter.span);
  step[device::kSpanFirst] = writer.AddConstant(filter.first);
  step[device::kOctetWeights] = static_cast<int32_t>(units / filter.octets);
  if (bits) {
    step[device::kWeights] = writer.AddConstant(PackWords(filter, ternary));
    step[device::kCounts] =
        writer.AddConstant(TapTable(filter, [](int8_t weight) { return weight != 0 ? 1 : 0; }));
  } else {
    step[device::kWeights] = writer.AddConstant(PackBytes(filter));
    step[device::kZeroPoint] = in.code.zero_point;
  }
  if (op.padding != Padding::kZero) {
    step[device::kBorder] = op.padding == Padding::kPlusOne ? 1 : -1;
    step[device::kTapSums] =
        writer.AddConstant(TapTable(filter, [](int8_t weight) { return int32_t{weight}; }));
  }
  CutOctets(tile, out, step);
  return absl::OkStatus();
}

// What was chosen, as far as there are kernels for it.
ConvTile TileOf(const LowBitConvOp& op, const DeviceValue& in, const DeviceValue& out,
                const ChooseConvTile& choose, int64_t rows) {
  ConvShape shape = ShapeOf(op, in, out);
  shape.rows = rows;
  ConvTile tile = choose(shape);
  if (tile.tensor != ConvTensor::kNone && TilesFit(shape, tile)) return tile;
  if (tile.lines > 0) return shape.has_slices() ? tile : ConvTile{};
  if (tile.run > 0 && shape.has_code_runs() && tile.tensor == ConvTensor::kNone) {
    tile.run = tile.run >= kCodeRun && out.pixels() > 1 ? kCodeRun : 1;
    tile.blocks = tile.blocks > 1 && shape.has_wide_codes() ? 2 : 1;
    return tile;
  }
  ConvTile octets;
  octets.gain = tile.gain;
  if (tile.run == 0) octets.group_items = tile.group_items;
  if (tile.tensor != ConvTensor::kNone || !shape.has_blocks()) return octets;
  tile.run = static_cast<int32_t>(std::min<int64_t>(tile.run, shape.max_run()));
  return tile.run > 0 ? tile : octets;
}

// A convolution of the plan once more, into `out`, cut otherwise: with the same kernel and tables.
void AddRecut(DeviceStep step, const ConvTile& tile, DeviceValue& out, PlanWriter& writer) {
  writer.AddBuffer(out);
  writer.Use(step.in);
  writer.Use(out.buffer);
  step.out = out.buffer;
  step.name = step.tile = tile.Text();
  if (step.kernel == kSliceKernel) {
    CutSlices(tile, out, step);
  } else if (step.kernel == kBlockKernel) {
    CutBlocks(tile, out, step);
  } else {
    if (step.kernel == kCodeRunKernel) step.kernel = "bm_conv_codes";
    CutOctets(tile, out, step);
  }
  writer.Push(std::move(step));
}

}  // namespace

absl::Status AddLowBitConv(const LowBitConvOp& op, const std::string& name, const DeviceValue& in,
                           DeviceValue& out, const ChooseConvTile& choose, PlanWriter& writer) {
  const bool bits = in.bits() && (op.weight_bits == 1 || (op.weight_bits == 2 && op.ternary));
  const ConvTile tile = TileOf(op, in, out, choose, writer.plan().max_rows);
  const bool tensor = tile.tensor != ConvTensor::kNone;  // takes bits whatever the weights
  const bool ternary = bits && (op.weight_bits != 1 || (op.groups > 1 && !tensor));
  const DeviceValue input = in.bits() && !bits && !tensor ? Unpack(name, in, writer) : in;
  writer.AddBuffer(out);
  const std::string kernel = tensor           ? TileKernelName(op, tile, in)
                             : tile.lines > 0 ? kSliceKernel
                             : !bits          ? "bm_conv_codes"
                             : tile.run > 0   ? kBlockKernel
                                              : "bm_conv_bits";
  DeviceStep step = writer.Begin(kernel.c_str(), input, out);
  step.name = name;
  absl::StrAppend(&step.bits, ", ", ternary ? "ternary" : absl::StrCat(op.weight_bits),
                  op.weight_bits == 1 ? "-bit" : "", " weights");
  step.tile = tile.Text();
  SetWindow(op, op.weights->shape()[2], op.weights->shape()[3], step);
  const size_t before = writer.plan().constants.size();
  if (tensor) {
    BITMILL_RETURN_IF_ERROR(SetTiles(op, tile, in, out, writer, step));
  } else if (tile.lines > 0) {
    SetSlices(op, tile, input, out, writer, step);
  } else if (bits && tile.run > 0) {
    SetBlocks(op, tile, out, writer, step);
  } else {
    BITMILL_RETURN_IF_ERROR(SetOctets(op, bits, tile, input, out, writer, step));
  }
  SetEpilogue(op, writer, out, step);
  step.weight_bytes = static_cast<int64_t>(writer.plan().constants.size() - before);
  step.macs = op.weights->shape()[0] * op.weights->shape()[1] * op.weights->shape()[2] *
              op.weights->shape()[3] * out.pixels();
  writer.Push(std::move(step));
  return absl::OkStatus();
}

absl::Status AddTiles(const LowBitConvOp& op, const std::vector<ConvTile>& tiles,
                      const DeviceValue& in, DeviceValue& out, PlanWriter& writer) {
  const DeviceValue image = out;
  const bool codes = ShapeOf(op, in, out).has_code_runs();
  const auto form = [codes](const ConvTile& tile) {
    return tile.lines > 0 ? 2 : tile.run > 0 && !codes ? 1 : 0;
  };
  std::array<size_t, 3> packed{};  // one past the step that has the tables of a form; 0: none yet
  for (const ConvTile& tile : tiles) {
    out = image;
    size_t& like = packed[static_cast<size_t>(form(tile))];
    if (like > 0) {
      AddRecut(DeviceStep(writer.plan().steps[like - 1]), tile, out, writer);
      continue;
    }
    BITMILL_RETURN_IF_ERROR(AddLowBitConv(
        op, tile.Text(), in, out, [&tile](const ConvShape&) { return tile; }, writer));
    like = writer.plan().steps.size();
  }
  return absl::OkStatus();
}

}  // namespace bitmill
