// Steps between floats, bits and codes (kernels/opencl/codes.cl).
#include <vector>

#include "backends/device/plan_writer.h"

namespace bitmill {
namespace {

// An item for each octet of each pixel of the output.
int32_t OctetItems(const DeviceStep& step, const DeviceValue& out) {
  return static_cast<int32_t>(out.pixels()) * step[device::kOutOctets];
}

int32_t ElementTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return device::kTypeInt8;
    case DType::kUInt8:
      return device::kTypeUInt8;
    case DType::kFloat16:
      return device::kTypeHalf;
    case DType::kBFloat16:
      return device::kTypeBFloat16;
    default:
      return device::kTypeFloat;
  }
}

// One bit or byte a channel, as the pixels of `value` are stored: set where `flags` is.
std::vector<uint8_t> PixelMask(const std::vector<uint8_t>& flags, const DeviceValue& value) {
  std::vector<uint8_t> mask(static_cast<size_t>(value.pixel_bytes), 0);
  for (size_t c = 0; c < flags.size(); ++c) {
    if (flags[c] == 0) continue;
    if (value.bits()) {
      mask[c / 8] = static_cast<uint8_t>(mask[c / 8] | 1U << (c % 8));
    } else {
      mask[c] = 1;
    }
  }
  return mask;
}

}  // namespace

void AddQuantize(const QuantizeOp& op, const std::string& name, const DeviceValue& in,
                 DeviceValue& out, PlanWriter& writer) {
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin("bm_quantize_plain", in, out);
  step.name = name;
  step[device::kInType] = ElementTypeOf(in.dtype);
  writer.SetChain(op.chain, step);
  step[device::kEpilogue] = device::kToThresholds;
  if (out.bits() && !op.bit_thresholds.empty()) {
    step[device::kThresholds] = writer.AddConstant(op.bit_thresholds);
    step[device::kThresholdChannels] = static_cast<int32_t>(op.bit_thresholds.size());
    std::vector<int32_t> flip(op.bit_invert.begin(), op.bit_invert.end());
    flip.resize(op.bit_thresholds.size(), 0);
    step[device::kFlip] = writer.AddConstant(flip);
  } else if (!out.bits() && !op.level_thresholds.empty()) {
    step[device::kLevelSteps] = out.code.levels - 1;
    step[device::kThresholds] = writer.AddConstant(op.level_thresholds);
    step[device::kThresholdChannels] = static_cast<int32_t>(op.level_channels);
  } else {
    step[device::kEpilogue] = device::kToQuantizer;
    PlanWriter::SetQuantizer(op.quantizer, step);
  }
  step[device::kItems] = OctetItems(step, out);
  writer.Push(std::move(step));
}

void AddDequantize(const std::string& name, const DeviceValue& in, DeviceValue& out,
                   PlanWriter& writer) {
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin("bm_dequantize", in, out);
  step.name = name;
  step[device::kQuantScale] = BitsOf(in.code.scale);
  step[device::kZeroPoint] = in.code.zero_point;
  step[device::kItems] = static_cast<int32_t>(out.elements);
  writer.Push(std::move(step));
}

void AddLowBitPool(const LowBitMaxPoolOp& op, const std::string& name, const DeviceValue& in,
                   DeviceValue& out, PlanWriter& writer) {
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin(out.bits() ? "bm_pool_bits" : "bm_pool_codes", in, out);
  step.name = name;
  SetWindow(op, op.kernel_h, op.kernel_w, step);
  step[device::kMinimum] = op.minimum.empty() ? -1 : writer.AddConstant(PixelMask(op.minimum, out));
  const int64_t units = out.bits() ? out.pixel_bytes / 8 : out.pixel_bytes;
  step[device::kItems] = static_cast<int32_t>(out.pixels() * units);
  writer.Push(std::move(step));
}

void AddCodeTranspose(const std::string& name, const DeviceValue& in, DeviceValue& out,
                      PlanWriter& writer) {
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin("bm_transpose", in, out);
  step.name = name;
  step[device::kItems] = OctetItems(step, out);
  writer.Push(std::move(step));
}

}  // namespace bitmill
