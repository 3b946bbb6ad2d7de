// Which rows of a chunk run together in each step, and one arena for all buffers.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/step_builder.h"

namespace bitmill {

// Steps by the numbers of BufferNeed, first and last, that became one of the plan.
struct PushedSteps {
  int32_t first = 0, last = 0;
};

// For a plan whose steps and threads are known: its segments, and where each buffer lies.
// `steps`: of each step of the plan; `schedule_rows` groups their rows. ResourceExhausted where one
// row needs too much.
absl::Status PlanMemory(const StepBuilder& builder, absl::Span<const PushedSteps> steps,
                        RowScheduler schedule_rows, Plan& plan);

// ResourceExhausted when a context of the plan takes more than that; 0: no limit.
absl::Status CheckFits(const Plan& plan, int64_t working_bytes);

}  // namespace bitmill
