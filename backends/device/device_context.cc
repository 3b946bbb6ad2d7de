#include "backends/device/device_context.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "model/ops/op_registry.h"

namespace bitmill {

HostLayout LayOutHost(const DevicePlan& plan) {
  HostLayout layout;
  layout.offsets.assign(plan.buffers.size(), -1);
  const auto add = [&](int32_t buffer) {
    if (buffer < 0 || layout.offsets[static_cast<size_t>(buffer)] >= 0) return;
    layout.offsets[static_cast<size_t>(buffer)] = layout.bytes;
    layout.bytes += plan.buffers[static_cast<size_t>(buffer)].stride * plan.max_rows;
  };
  for (const DevicePort& port : plan.inputs) add(port.buffer);
  for (const DevicePort& port : plan.outputs) add(port.buffer);
  for (const DeviceStep& step : plan.steps) {
    if (step.host == nullptr) continue;
    for (const HostOperand& operand : step.host->inputs) add(operand.buffer);
    for (const HostOperand& operand : step.host->outputs) add(operand.buffer);
  }
  return layout;
}

DeviceContext::DeviceContext(const DevicePlan& plan, const HostLayout& layout,
                             absl::StatusOr<std::unique_ptr<DeviceStream>> stream)
    : plan_(plan), layout_(layout), status_(stream.status()) {
  if (stream.ok()) stream_ = *std::move(stream);
}

std::byte* DeviceContext::HostRow(int32_t buffer, int64_t row) const {
  const auto b = static_cast<size_t>(buffer);
  return stream_->host() + layout_.offsets[b] + row * plan_.buffers[b].stride;
}

bool DeviceContext::recorded(int64_t rows) const {
  return std::find(recorded_.begin(), recorded_.end(), rows) != recorded_.end();
}

absl::Status DeviceContext::RunHostStep(size_t step, int64_t rows) {
  const HostStep& host = *plan_.steps[step].host;
  for (const HostOperand& input : host.inputs) {
    if (input.buffer < 0) continue;
    BITMILL_RETURN_IF_ERROR(stream_->Read(input.buffer, rows, DeviceStream::kUntimed));
  }
  BITMILL_RETURN_IF_ERROR(stream_->Finish());
  const OpDef* const op = FindOp(host.node.domain, host.node.op);
  for (int64_t r = 0; r < rows; ++r) {
    inputs_.clear();
    outputs_.clear();
    for (const HostOperand& input : host.inputs) {
      const void* const data = input.constant != nullptr ? input.constant->data()
                               : input.buffer >= 0       ? HostRow(input.buffer, r)
                                                         : nullptr;
      inputs_.push_back({input.dtype, input.shape, data});
    }
    for (const HostOperand& output : host.outputs) {
      void* const data = output.buffer >= 0 ? HostRow(output.buffer, r) : nullptr;
      outputs_.push_back({output.dtype, output.shape, data});
    }
    BITMILL_RETURN_IF_ERROR(op->eval(host.node, host.opset, inputs_, outputs_));
  }
  for (const HostOperand& output : host.outputs) {
    if (output.buffer < 0) continue;
    BITMILL_RETURN_IF_ERROR(stream_->Write(output.buffer, rows, DeviceStream::kUntimed));
  }
  return absl::OkStatus();
}

}  // namespace bitmill
