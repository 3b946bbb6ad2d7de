#include "server/frontend/turn_meter.h"

#include <algorithm>

namespace bitmill {
namespace {

constexpr uint32_t kTurnsEach = 16;

}  // namespace

void TurnMeter::Submitting(absl::Span<InferTask* const> tasks) {
  if (begin_cpu_ns_ == 0) return;
  turn_ = {};
  const ServedModel* const model = tasks.front()->model.get();
  const bool of_one_model = std::ranges::all_of(
      tasks, [model](const InferTask* task) { return task->model.get() == model; });
  if (!of_one_model) return;
  turn_.requests = static_cast<int32_t>(tasks.size());
  turn_.model = engine_.MetricsOf(*model).id();
}

void TurnMeter::Submitted() {
  if (log_ == nullptr) return;
  if (begin_cpu_ns_ != 0 && turn_.requests > 0) {
    turn_.cpu_ns = ThreadCpuNanos() - begin_cpu_ns_;
    turn_.end_ns = clock_.Now();
    log_->Add(turn_);
  }
  begin_cpu_ns_ = ++turns_ % kTurnsEach == 0 ? ThreadCpuNanos() : 0;
}

}  // namespace bitmill
