#include "backends/device/plan_writer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/arena_planner.h"
#include "base/status_macros.h"
#include "base/tensor.h"

namespace bitmill {
namespace {

using device::kPlaceBytes;

// Kernels count elements, items and the bytes of an image in int.
constexpr int64_t kMaxImageBytes = std::numeric_limits<int32_t>::max();

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

int32_t Int(int64_t value) { return static_cast<int32_t>(value); }

// Functions that a device may round in another way than the reference.
bool IsApproximate(ChainOp op) {
  return op == ChainOp::kPow || op == ChainOp::kSigmoid || op == ChainOp::kTanh ||
         op == ChainOp::kExp || op == ChainOp::kLog;
}

std::string CodeText(const DeviceValue& value) {
  if (value.bits()) return "1";
  if (!value.coded()) return std::string(DTypeName(value.dtype));
  return absl::StrCat("u", value.code.levels);
}

}  // namespace

absl::StatusOr<DeviceValue> DeviceValueOf(const Value& value) {
  DeviceValue result;
  result.code = value.code;
  result.dtype = value.dtype;
  result.shape = value.shape;
  result.elements = ElementCount(value.shape);
  if (value.shape.size() > 1) result.channels = value.shape[1];
  if (value.shape.size() > 2) result.height = value.shape[2];
  for (size_t d = 3; d < value.shape.size(); ++d) result.width *= value.shape[d];
  if (value.shape.size() == 1) result.width = value.shape[0];
  if (result.elements > kMaxImageBytes / 8) {
    return absl::ResourceExhaustedError(
        absl::StrCat("value '", value.name, "' has ", result.elements,
                     " elements, a device kernel counts ", kMaxImageBytes / 8));
  }
  if (result.coded() && result.elements != result.channels * result.pixels()) {
    return absl::UnimplementedError(
        absl::StrCat("shape ", ShapeToString(value.shape), " has a first dimension other than 1"));
  }
  if (result.bits()) result.pixel_bytes = RoundUp(result.channels, 64) / 8;
  if (result.coded() && !result.bits()) result.pixel_bytes = RoundUp(result.channels, 8);
  return result;
}

void PlanWriter::AddBuffer(DeviceValue& value) {
  DeviceBuffer buffer;
  buffer.row_bytes =
      value.coded() ? value.pixels() * value.pixel_bytes : value.elements * DTypeSize(value.dtype);
  buffer.stride = RoundUp(std::max<int64_t>(buffer.row_bytes, 1), kPlaceBytes);
  buffer.first_use = buffer.last_use = Int(static_cast<int64_t>(plan_.steps.size()));
  value.buffer = Int(static_cast<int64_t>(plan_.buffers.size()));
  plan_.buffers.push_back(buffer);
}

void PlanWriter::Use(int32_t buffer) {
  plan_.buffers[static_cast<size_t>(buffer)].last_use =
      Int(static_cast<int64_t>(plan_.steps.size()));
}

int32_t PlanWriter::AddConstant(const void* data, size_t bytes) {
  std::string& constants = plan_.constants;
  // The first place is zero: tables that a step does not have point there.
  if (constants.empty()) constants.resize(kPlaceBytes);
  const size_t place = constants.size() / kPlaceBytes;
  constants.append(static_cast<const char*>(data), bytes);
  constants.resize((constants.size() + kPlaceBytes - 1) / kPlaceBytes * kPlaceBytes);
  return Int(static_cast<int64_t>(place));
}

DeviceStep PlanWriter::Begin(const char* kernel, const DeviceValue& in, const DeviceValue& out) {
  DeviceStep step;
  step.kernel = kernel;
  step.in = in.buffer;
  step.out = out.buffer;
  Use(in.buffer);
  Use(out.buffer);
  step.input = ShapeToString(in.shape);
  step.output = ShapeToString(out.shape);
  step.bits = absl::StrCat(CodeText(in), " -> ", CodeText(out));
  step.output_bytes = plan_.buffers[static_cast<size_t>(out.buffer)].row_bytes;
  step[device::kInChannels] = Int(in.channels);
  step[device::kInHeight] = Int(in.height);
  step[device::kInWidth] = Int(in.width);
  step[device::kInPixelBytes] = Int(in.pixel_bytes);
  step[device::kInBits] = in.bits() ? 1 : 0;
  step[device::kOutChannels] = Int(out.channels);
  step[device::kOutHeight] = Int(out.height);
  step[device::kOutWidth] = Int(out.width);
  step[device::kOutPixelBytes] = Int(out.pixel_bytes);
  step[device::kOutBits] = out.bits() ? 1 : 0;
  // Octets fill whole pixels of bits and codes.
  const int64_t octets = out.bits()    ? out.pixel_bytes
                         : out.coded() ? out.pixel_bytes / device::kOctet
                                       : RoundUp(out.channels, device::kOctet) / device::kOctet;
  step[device::kOutOctets] = Int(octets);
  step[device::kTopCode] = out.code.levels - 1;
  return step;
}

void PlanWriter::SetChain(const Chain& chain, DeviceStep& step) {
  step[device::kChainSteps] = Int(static_cast<int64_t>(chain.size()));
  if (chain.empty()) return;
  // int[steps][4], then one zero for operations without an operand, then the operands.
  std::vector<int32_t> words(chain.size() * 4 + 1, 0);
  const auto add = [&words, &chain](const std::vector<float>& operand) {
    if (operand.empty()) return Int(static_cast<int64_t>(chain.size() * 4));
    const auto at = Int(static_cast<int64_t>(words.size()));
    for (const float value : operand) words.push_back(BitsOf(value));
    return at;
  };
  for (size_t i = 0; i < chain.size(); ++i) {
    if (IsApproximate(chain[i].op)) plan_.exact = false;
    const int32_t first = add(chain[i].operand);
    const int32_t second = add(chain[i].operand2);
    words[i * 4] = static_cast<int32_t>(chain[i].op);
    words[i * 4 + 1] = first;
    words[i * 4 + 2] = second;
    words[i * 4 + 3] =
        (chain[i].operand.size() > 1 ? 1 : 0) + (chain[i].operand2.size() > 1 ? 2 : 0);
  }
  step[device::kChain] = AddConstant(words);
}

void PlanWriter::SetQuantizer(const Quantizer& quantizer, DeviceStep& step) {
  step[device::kQuantScale] = BitsOf(quantizer.code.scale);
  step[device::kQuantOffset] = BitsOf(quantizer.offset);
  step[device::kTopCode] = quantizer.code.levels - 1;
  step[device::kRounding] = static_cast<int32_t>(quantizer.rounding);
  step[device::kClampFirst] = quantizer.clamp_first ? 1 : 0;
}

absl::StatusOr<DevicePlan> PlanWriter::Finish() {
  if (plan_.constants.empty()) plan_.constants.resize(kPlaceBytes);
  plan_.constant_bytes = static_cast<int64_t>(plan_.constants.size());
  BITMILL_RETURN_IF_ERROR(PlaceBuffers(plan_));
  for (const DeviceStep& step : plan_.steps) plan_.row_macs += step.macs;
  return std::move(plan_);
}

absl::Status PlaceBuffers(DevicePlan& plan) {
  std::vector<ArenaRequest> requests;
  requests.reserve(plan.buffers.size());
  for (const DeviceBuffer& buffer : plan.buffers) {
    requests.push_back({buffer.stride * plan.max_rows, buffer.first_use, buffer.last_use});
  }
  ArenaPlan arena = PlanArena(requests);
  plan.arena_bytes = std::max<int64_t>(arena.bytes, kPlaceBytes);
  constexpr int64_t kMaxPlaces = std::numeric_limits<int32_t>::max();
  if (std::max(plan.arena_bytes, plan.constant_bytes) / kPlaceBytes > kMaxPlaces) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the model needs ", plan.arena_bytes, " bytes of working memory and ", plan.constant_bytes,
        " of constants on the device, at most ", kMaxPlaces * kPlaceBytes, " can be addressed"));
  }
  for (size_t b = 0; b < plan.buffers.size(); ++b) plan.buffers[b].offset = arena.offsets[b];
  const auto place = [&plan](int32_t buffer, DeviceStep& step, device::StepParam where,
                             device::StepParam row) {
    if (buffer < 0) return;
    const DeviceBuffer& memory = plan.buffers[static_cast<size_t>(buffer)];
    step[where] = Int(memory.offset / kPlaceBytes);
    step[row] = Int(memory.stride / kPlaceBytes);
  };
  for (DeviceStep& step : plan.steps) {
    place(step.in, step, device::kIn, device::kInRow);
    place(step.in2, step, device::kIn2, device::kIn2Row);
    place(step.out, step, device::kOut, device::kOutRow);
  }
  return absl::OkStatus();
}

}  // namespace bitmill
