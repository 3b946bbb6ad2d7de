#include "backends/cpu/workspace.h"

namespace bitmill {

Workspace::Workspace(const Plan& plan)
    : arena_(plan.arena_bytes), views_(static_cast<size_t>(plan.threads)) {
  for (const RowSegment& segment : plan.segments) {
    first_table_.push_back(first_rows_.size());
    for (int64_t row = 0; row < plan.chunk_rows; row += segment.rows) first_rows_.push_back(row);
  }
  for (size_t slot = 0; slot < views_.size(); ++slot) {
    View& view = views_[slot];
    for (const int64_t row : first_rows_) {
      std::vector<std::byte*>& table = view.buffers.emplace_back();
      table.reserve(plan.buffer_offsets.size());
      for (size_t i = 0; i < plan.buffer_offsets.size(); ++i) {
        table.push_back(Place(plan, i, row) + static_cast<int64_t>(slot) * plan.slot_bytes[i]);
      }
    }
    view.states.reserve(plan.steps.size());
    for (const StepPtr& step : plan.steps) view.states.push_back(step->CreateState());
  }
}

std::byte* Workspace::Place(const Plan& plan, size_t buffer, int64_t row) {
  return arena_.data() + plan.buffer_offsets[buffer] + row * plan.chunk_row_bytes[buffer];
}

void Workspace::PlaceOutputs(const Plan& plan, const StepRun& chunk) {
  for (const OutputBuffer& output : plan.outputs) {
    std::byte* const* const rows =
        chunk.batch->outputs[static_cast<size_t>(output.port)] + chunk.first_row;
    bool fits = IsAligned(rows[0], alignof(float));
    for (int64_t r = 1; fits && r < chunk.rows; ++r) {
      fits = rows[r] == rows[0] + r * output.row_bytes;
    }
    for (View& view : views_) {
      for (size_t table = 0; table < view.buffers.size(); ++table) {
        const int64_t row = first_rows_[table];
        view.buffers[table][static_cast<size_t>(output.buffer)] =
            fits ? rows[0] + row * output.row_bytes
                 : Place(plan, static_cast<size_t>(output.buffer), row);
      }
    }
  }
}

SpareWorkspaces::SpareWorkspaces(const Plan& plan, int count) : taken_(static_cast<size_t>(count)) {
  workspaces_.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) workspaces_.emplace_back(plan);
}

Workspace* SpareWorkspaces::Take() {
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
