#include "backends/device/plan_bytes.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_codec.h"
#include "base/program_id.h"

namespace bitmill {

template <typename Codec>
void Fields(Codec& codec, DeviceTiles& tiles) {
  codec(tiles.pixels, tiles.outputs, tiles.threads, tiles.shared_bytes);
}

template <typename Codec>
void Fields(Codec& codec, DeviceStep& step) {
  std::vector<int32_t> params(step.params.begin(), step.params.end());
  codec(step.name, step.kernel, step.input, step.output, step.bits, step.tile, params, step.in,
        step.in2, step.out, step.macs, step.output_bytes, step.weight_bytes, step.group_items,
        step.tiles, step.few_kernel, step.few_tiles);
  if constexpr (Codec::kReads) {
    if (params.size() == step.params.size()) {
      std::ranges::copy(params, step.params.begin());
    } else {
      codec.Fail();
    }
  }
}

template <typename Codec>
void Fields(Codec& codec, DeviceBuffer& buffer) {
  codec(buffer.row_bytes, buffer.stride, buffer.offset, buffer.first_use, buffer.last_use);
}

template <typename Codec>
void Fields(Codec& codec, DevicePort& port) {
  codec(port.buffer);
}

template <typename Codec>
void Fields(Codec& codec, DevicePlan& plan) {
  codec(plan.max_rows, plan.steps, plan.buffers, plan.inputs, plan.outputs, plan.constants,
        plan.constant_bytes, plan.arena_bytes, plan.row_macs, plan.exact);
}

template <typename Codec>
void Fields(Codec& codec, KeptPlan& kept) {
  codec(kept.model, kept.tune_seconds, kept.plan);
}

namespace {

bool IsWhole(const DevicePlan& plan) {
  const auto is_buffer = [&plan](int32_t buffer) {
    return buffer >= 0 && static_cast<size_t>(buffer) < plan.buffers.size();
  };
  const auto port_is = [&](const DevicePort& port) { return is_buffer(port.buffer); };
  const auto step_is = [&](const DeviceStep& step) {
    return is_buffer(step.in) && is_buffer(step.out) && (step.in2 < 0 || is_buffer(step.in2)) &&
           step[device::kItems] >= 0 && step.group_items >= 0;
  };
  const auto buffer_is = [&plan](const DeviceBuffer& buffer) {
    return buffer.row_bytes >= 0 && buffer.row_bytes <= buffer.stride && buffer.offset >= 0 &&
           buffer.stride <= (plan.arena_bytes - buffer.offset) / plan.max_rows;
  };
  return plan.max_rows > 0 && plan.arena_bytes > 0 &&
         plan.constant_bytes == static_cast<int64_t>(plan.constants.size()) &&
         std::ranges::all_of(plan.buffers, buffer_is) && std::ranges::all_of(plan.steps, step_is) &&
         std::ranges::all_of(plan.inputs, port_is) && std::ranges::all_of(plan.outputs, port_is);
}

}  // namespace

std::string PlanName(uint64_t model_hash) {
  return absl::StrCat("plan of ", absl::Hex(model_hash, absl::kZeroPad16), " by ", ProgramId());
}

absl::StatusOr<std::string> EncodePlan(KeptPlan kept) {
  const auto is_constant = [](const DevicePort& port) { return port.buffer < 0; };
  const auto has_bits = [](const DevicePort& port) { return port.bits != nullptr; };
  if (kept.plan.host_steps() > 0 || std::ranges::any_of(kept.plan.outputs, is_constant) ||
      std::ranges::any_of(kept.plan.inputs, has_bits)) {
    return absl::UnimplementedError("a plan that refers to its model is not kept");
  }
  PlainEncoder encoder;
  encoder(kept);
  return encoder.Take();
}

absl::StatusOr<KeptPlan> DecodePlan(absl::string_view bytes) {
  KeptPlan kept;
  PlainDecoder decoder(bytes);
  decoder(kept);
  if (!decoder.AtEnd() || !IsWhole(kept.plan)) return absl::DataLossError("a damaged device plan");
  return kept;
}

}  // namespace bitmill
