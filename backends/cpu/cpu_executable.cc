#include "backends/cpu/cpu_executable.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bitmill {

CpuContext::CpuContext(const Plan& plan) : arena_(plan.arena_bytes) {
  buffers_.reserve(plan.buffer_offsets.size());
  for (const int64_t offset : plan.buffer_offsets) buffers_.push_back(arena_.data() + offset);
  states_.reserve(plan.steps.size());
  for (const StepPtr& step : plan.steps) states_.push_back(step->CreateState());
}

absl::Status CpuExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  if (batch.rows < 1 || batch.rows > max_rows_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a batch of ", batch.rows, " rows; 1 to ", max_rows_, " are possible"));
  }
  if (batch.inputs.size() != signature_.inputs.size() ||
      batch.outputs.size() != signature_.outputs.size()) {
    return absl::InternalError(absl::StrCat(
        "a batch of ", batch.inputs.size(), " inputs and ", batch.outputs.size(),
        " outputs; the model has ", signature_.inputs.size(), " and ", signature_.outputs.size()));
  }
  const auto& own = static_cast<const CpuContext&>(context);
  StepRun run;
  run.batch = &batch;
  run.buffers = own.buffers();
  for (run.first_row = 0; run.first_row < batch.rows; run.first_row += plan_.chunk_rows) {
    run.rows = std::min(plan_.chunk_rows, batch.rows - run.first_row);
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      run.state = own.state(i);
      if (absl::Status status = plan_.steps[i]->Run(run); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace bitmill
