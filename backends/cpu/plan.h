// A compiled plan: steps over buffers of one arena, for a chunk of rows at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cpu/kernel_choices.h"
#include "backends/cpu/row_schedule.h"
#include "backends/cpu/step.h"
#include "backends/cpu/step_builder.h"
#include "backends/cpu/steps.h"
#include "model/graph.h"

namespace bitmill {

// A buffer that is an output of the graph and nothing else. Rows that lie as far apart as in the
// buffer, or a single one, are computed where they belong if floats may be there.
struct OutputBuffer {
  int32_t buffer = -1, port = -1;
  int64_t row_bytes = 0;
};

struct Plan {
  std::vector<StepPtr> steps;
  std::vector<double> step_micros;      // of each step, for a row: measured, or step_cost.h's
  std::vector<int64_t> buffer_offsets;  // in the arena, of each buffer
  std::vector<int64_t> slot_bytes;      // of each buffer, from a thread's to the next's; 0: shared
  // Of each buffer, from a row of the chunk to the next; 0: it has the rows of a group only.
  std::vector<int64_t> chunk_row_bytes;
  int threads = 1;             // that may work on one chunk
  double row_micros = 0.0;     // of all steps
  double parted_micros = 0.0;  // of the longest step that has parts
  int64_t arena_bytes = 0;
  std::vector<OutputBuffer> outputs;
  int64_t chunk_rows = 1;            // rows that run together
  std::vector<RowSegment> segments;  // the groups of them in which steps take them
  int64_t weight_bytes = 0;
  int64_t row_macs = 0;
  // By node: other ways to compute it that are worth measuring.
  std::map<int32_t, std::vector<LayerChoice>> forms;
};

// `graph` is lowered; nothing of it is referenced afterwards except the constants that reference
// steps and constant outputs need. `threads`: at most so many work on one batch. Constants that
// steps pack are taken from and added to `constants` (null: for this plan alone), and layers are
// computed as `choices` says (null: the usual way); neither is referenced afterwards. Rows are
// grouped by `schedule`. Errors name the node; Internal when a choice names what is not there.
absl::StatusOr<Plan> BuildPlan(const Graph& graph, const KernelSet& kernels, int64_t max_rows,
                               int threads = 1, PlanConstants* constants = nullptr,
                               const KernelChoices* choices = nullptr,
                               RowScheduler schedule = ScheduleRows);

// A table: one line a step, then totals.
std::string DescribePlanText(const Plan& plan, const std::string& title);

}  // namespace bitmill
