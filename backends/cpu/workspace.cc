#include "backends/cpu/workspace.h"

namespace bitmill {

Workspace::Workspace(const Plan& plan)
    : arena_(plan.arena_bytes), views_(static_cast<size_t>(plan.threads)) {
  std::vector<int64_t> first_rows;  // of each group of each segment
  for (const RowSegment& segment : plan.segments) {
    first_table_.push_back(first_rows.size());
    for (int64_t row = 0; row < plan.chunk_rows; row += segment.rows) first_rows.push_back(row);
  }
  for (size_t slot = 0; slot < views_.size(); ++slot) {
    View& view = views_[slot];
    for (const int64_t row : first_rows) {
      std::vector<std::byte*>& table = view.buffers.emplace_back();
      table.reserve(plan.buffer_offsets.size());
      for (size_t i = 0; i < plan.buffer_offsets.size(); ++i) {
        table.push_back(arena_.data() + plan.buffer_offsets[i] + row * plan.chunk_row_bytes[i] +
                        static_cast<int64_t>(slot) * plan.slot_bytes[i]);
      }
    }
    view.states.reserve(plan.steps.size());
    for (const StepPtr& step : plan.steps) view.states.push_back(step->CreateState());
  }
}

SpareWorkspaces::SpareWorkspaces(const Plan& plan, int count) : taken_(static_cast<size_t>(count)) {
  workspaces_.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) workspaces_.emplace_back(plan);
}

const Workspace* SpareWorkspaces::Take() {
  for (size_t i = 0; i < taken_.size(); ++i) {
    if (!taken_[i].exchange(true, std::memory_order_acquire)) return &workspaces_[i];
  }
  return nullptr;
}

void SpareWorkspaces::Return(const Workspace* workspace) {
  taken_[static_cast<size_t>(workspace - workspaces_.data())].store(false,
                                                                    std::memory_order_release);
}

}  // namespace bitmill
