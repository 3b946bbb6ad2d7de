// The memory in which chunks of a plan run.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "backends/cpu/plan.h"
#include "base/aligned_buffer.h"

namespace bitmill {

// One arena, and for each of the plan's threads (slots) its view of it and its states: the threads
// that share a step see the same values and each its own working memory. Used by one chunk at a
// time.
class Workspace {
 public:
  explicit Workspace(const Plan& plan);
  Workspace(Workspace&&) = default;

  std::byte* const* buffers(int slot) const {
    return views_[static_cast<size_t>(slot)].buffers.data();
  }
  StepState* state(size_t step, int slot) const {
    return views_[static_cast<size_t>(slot)].states[step].get();
  }

 private:
  struct View {
    std::vector<std::byte*> buffers;
    std::vector<std::unique_ptr<StepState>> states;
  };
  AlignedBuffer arena_;
  std::vector<View> views_;
};

// Workspaces for helpers that take rows of their own. Thread-safe.
class SpareWorkspaces {
 public:
  SpareWorkspaces(const Plan& plan, int count);

  // Null when all are taken.
  const Workspace* Take();
  void Return(const Workspace* workspace);

 private:
  std::vector<Workspace> workspaces_;
  std::vector<std::atomic<bool>> taken_;
};

}  // namespace bitmill
