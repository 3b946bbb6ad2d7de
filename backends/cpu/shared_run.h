// A batch on several threads.
//
// Rows come first: while there are at least as many as threads, each thread takes a few at a time
// through all steps, in a workspace of its own, which costs one fork and join a batch. What is left
// (for a batch of one row all of it) goes step by step: a step of enough work is cut into parts,
// lines of the image or blocks of output channels; shorter ones stay on the batch's own thread. No
// value depends on how the work was cut.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "backends/backend.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/workspace.h"
#include "base/fork_join.h"

namespace bitmill {

// Whether helpers can shorten a batch of `rows` rows by more than they cost.
bool WorthSharing(const Plan& plan, int64_t rows);

// All rows on this thread. `times`: what to fill in, null: nothing.
absl::Status RunAlone(const Plan& plan, const BatchRows& batch, Workspace& own,
                      OperationTimes* times = nullptr);

// All rows, with helpers of `team`. When several rows fail, the error is that of the first.
absl::Status RunShared(const Plan& plan, const BatchRows& batch, Workspace& own,
                       SpareWorkspaces& spares, ForkJoin& team, OperationTimes* times = nullptr);

}  // namespace bitmill
