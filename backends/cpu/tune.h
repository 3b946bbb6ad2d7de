// Measures on this machine which of the ways to compute a layer is fastest.
//
// One way after the other is tried for all layers at once against the usual one: both plans run in
// turn, step by step, with one row and with as many as run together, and each step is judged by the
// median of its ratios. A way must win clearly to be taken, and the plan of all that won must win
// again, step by step, before it replaces the usual one. So noise costs little, and other load on
// the machine, which slows both plans, even less.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cpu/kernel_choices.h"
#include "backends/cpu/plan.h"
#include "base/clock.h"

namespace bitmill {

// Runs all steps once; micros[i] is what step i took for all rows.
using TimeSteps = std::function<absl::Status(std::vector<double>& micros)>;

struct TuneParts {
  // The plan with these choices; an error means that they are not possible together.
  std::function<absl::StatusOr<Plan>(const KernelChoices& choices)> build;
  // Times runs of `plan`, which outlives the result, with batches of `rows` rows.
  std::function<TimeSteps(const Plan& plan, int64_t rows)> timer;
  const Clock& clock;
};

// The choices that won, and times of all steps. `max_rows`: of the largest batch. Takes about
// `seconds`, at least a run or two; where that is too short for a way it stays untried. Errors are
// those of the usual plan, and of running.
absl::StatusOr<KernelChoices> TuneKernels(const TuneParts& parts, int64_t max_rows, double seconds);

}  // namespace bitmill
