#include "backends/cpu/step_timer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "base/status_macros.h"

namespace bitmill {

RowBuffers::RowBuffers(absl::Span<const TensorSpec> specs, int64_t count) {
  for (const TensorSpec& spec : specs) {
    const int64_t stride =
        (spec.row_bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
    memory_.emplace_back(stride * count);
    rows_.emplace_back();
    for (int64_t r = 0; r < count; ++r) rows_.back().push_back(memory_.back().data() + r * stride);
  }
}

void RowBuffers::Fill(absl::Span<const TensorSpec> specs) {
  std::mt19937 random(1);
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].dtype != DType::kFloat32) continue;
    for (std::byte* row : rows_[i]) {
      for (int64_t at = 0; at + 4 <= specs[i].row_bytes; at += 4) {
        const float value = static_cast<float>(random() % 256);
        std::memcpy(row + at, &value, sizeof value);
      }
    }
  }
}

StepTimer::StepTimer(const Signature& signature, const Plan& plan, int64_t rows)
    : plan_(plan),
      workspace_(plan),
      inputs_(signature.inputs, rows),
      outputs_(signature.outputs, rows) {
  inputs_.Fill(signature.inputs);
  for (const auto& port : inputs_.rows()) input_ports_.push_back(port.data());
  for (const auto& port : outputs_.rows()) output_ports_.push_back(port.data());
  batch_ = {rows, input_ports_, output_ports_};
}

absl::Status StepTimer::Run(std::vector<double>& micros) {
  micros.assign(plan_.steps.size(), 0.0);
  StepRun run;
  run.batch = &batch_;
  for (run.first_row = 0; run.first_row < batch_.rows; run.first_row += plan_.chunk_rows) {
    run.rows = std::min(plan_.chunk_rows, batch_.rows - run.first_row);
    workspace_.PlaceOutputs(plan_, run);
    const auto time = [&](size_t i, size_t segment, size_t group, StepRun& step_run) {
      step_run.buffers = workspace_.buffers(0, segment, group);
      step_run.state = workspace_.state(i, 0);
      const auto start = std::chrono::steady_clock::now();
      absl::Status status = plan_.steps[i]->Run(step_run);
      const std::chrono::duration<double, std::micro> taken =
          std::chrono::steady_clock::now() - start;
      micros[i] += taken.count();
      return status;
    };
    BITMILL_RETURN_IF_ERROR(ForEachStep(plan_, run, time));
  }
  return absl::OkStatus();
}

}  // namespace bitmill
