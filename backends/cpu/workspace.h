// The memory in which chunks of a plan run.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "backends/cpu/plan.h"
#include "base/aligned_buffer.h"

namespace bitmill {

// One arena, and for each of the plan's threads (slots) its view of it and its states: the threads
// that share a step see the same values and each its own working memory. To each group of rows of a
// segment buffers that have all rows of the chunk begin with its own. Used by one chunk at a time.
class Workspace {
 public:
  explicit Workspace(const Plan& plan);
  Workspace(Workspace&&) = default;

  // Before a chunk runs: the plan's output buffers become the rows of the batch where they can.
  void PlaceOutputs(const Plan& plan, const StepRun& chunk);

  // Of a segment's group.
  std::byte* const* buffers(int slot, size_t segment, size_t group) const {
    return views_[static_cast<size_t>(slot)].buffers[first_table_[segment] + group].data();
  }
  StepState* state(size_t step, int slot) const {
    return views_[static_cast<size_t>(slot)].states[step].get();
  }

 private:
  struct View {
    std::vector<std::vector<std::byte*>> buffers;  // [group of any segment][buffer]
    std::vector<std::unique_ptr<StepState>> states;
  };
  // A row of a buffer in the arena.
  std::byte* Place(const Plan& plan, size_t buffer, int64_t row);

  AlignedBuffer arena_;
  std::vector<size_t> first_table_;  // of each segment, its first group's among View::buffers
  std::vector<int64_t> first_rows_;  // of the chunk, of each of View::buffers
  std::vector<View> views_;
};

// Calls work(step, segment, group, run) for each step and group of the chunk's rows, in order, with
// the rows of the group in `run`; stops at the first error.
template <typename Work>
absl::Status ForEachStep(const Plan& plan, const StepRun& chunk, Work work) {
  for (size_t s = 0; s < plan.segments.size(); ++s) {
    const RowSegment& segment = plan.segments[s];
    StepRun run = chunk;
    for (int64_t done = 0; done < chunk.rows; done += segment.rows) {
      run.first_row = chunk.first_row + done;
      run.rows = std::min(segment.rows, chunk.rows - done);
      const auto group = static_cast<size_t>(done / segment.rows);
      for (size_t i = segment.first; i < segment.end; ++i) {
        if (absl::Status status = work(i, s, group, run); !status.ok()) return status;
      }
    }
  }
  return absl::OkStatus();
}

// Workspaces for helpers that take rows of their own. Thread-safe.
class SpareWorkspaces {
 public:
  SpareWorkspaces(const Plan& plan, int count);

  // Null when all are taken.
  Workspace* Take();
  void Return(const Workspace* workspace);

 private:
  std::vector<Workspace> workspaces_;
  std::vector<std::atomic<bool>> taken_;
};

}  // namespace bitmill
