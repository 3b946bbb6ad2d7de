#include "server/engine/batching_engine.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "server/engine/model_runner.h"
#include "server/schedule/task_gate.h"

namespace bitmill {
namespace {

ModelRunner& RunnerOf(const ServedModel& model) {
  return static_cast<ModelRunner&>(*model.runtime);
}

class BatchingEngine final : public Engine {
 public:
  BatchingEngine(const EngineOptions& options, Scheduler& scheduler, ServerMetrics& metrics,
                 const Clock& clock)
      : options_(options), scheduler_(scheduler), metrics_(metrics), clock_(clock) {}

  ~BatchingEngine() override { gate_.CloseAndWait(); }

  int64_t ContextsOf(const ModelSettings& settings) const override {
    return InstancesOf(settings, scheduler_.concurrency());
  }

  RuntimeFactory runtime_factory() override {
    return [this](const ServedModel& model) -> absl::StatusOr<std::unique_ptr<ModelRuntime>> {
      BITMILL_ASSIGN_OR_RETURN(
          std::unique_ptr<ModelRunner> runner,
          ModelRunner::Create(model, options_, scheduler_,
                              metrics_.ForModel(model.name, model.version), gate_, clock_));
      return std::unique_ptr<ModelRuntime>(std::move(runner));
    };
  }

  ModelMetrics& MetricsOf(const ServedModel& model) const override {
    return RunnerOf(model).metrics();
  }

  BatchControls Controls(const ServedModel& model) const override {
    return RunnerOf(model).controls();
  }
  BatchControls ConfiguredControls(const ServedModel& model) const override {
    return RunnerOf(model).configured();
  }
  void SetControls(const ServedModel& model, const BatchControls& controls) override {
    RunnerOf(model).SetControls(controls);
  }
  MonotonicNanos LoadedAt(const ServedModel& model) const override {
    return RunnerOf(model).loaded_ns();
  }
  OperationTotals Operations(const ServedModel& model) const override {
    return RunnerOf(model).operations();
  }

  void Submit(absl::Span<InferTask* const> tasks, bool may_run_inline) override {
    if (!gate_.Enter(static_cast<int64_t>(tasks.size()))) {
      for (InferTask* const task : tasks) {
        task->done(*task, absl::UnavailableError("the server is shutting down"));
      }
      return;
    }
    // Usually one round: all tasks are of one model.
    absl::InlinedVector<InferTask*, 64> rest(tasks.begin(), tasks.end());
    absl::InlinedVector<BatchItem*, 64> group;
    while (!rest.empty()) {
      const ModelHandle model = rest.front()->model;
      group.clear();
      size_t others = 0;
      for (InferTask* const task : rest) {
        if (task->model == model) {
          ApplyTimeout(model->settings.batch, *task);
          group.push_back(task);
        } else {
          rest[others++] = task;
        }
      }
      rest.resize(others);
      RunnerOf(*model).Submit(group, may_run_inline);
    }
  }

  void Drain() override { gate_.CloseAndWait(); }

 private:
  static void ApplyTimeout(const BatchSettings& settings, InferTask& task) {
    int64_t timeout_us = settings.default_timeout_us;
    if (settings.allow_timeout_override && task.timeout_us > 0) timeout_us = task.timeout_us;
    if (timeout_us <= 0) return;
    const std::optional<int64_t> wait_ns = CheckedMul(timeout_us, 1000);
    if (!wait_ns) return;
    const std::optional<int64_t> due = CheckedAdd(task.received_ns, *wait_ns);
    if (!due) return;
    task.deadline_ns = task.deadline_ns == 0 ? *due : std::min(task.deadline_ns, *due);
  }

  const EngineOptions options_;
  Scheduler& scheduler_;
  ServerMetrics& metrics_;
  const Clock& clock_;
  TaskGate gate_;
};

}  // namespace

std::unique_ptr<Engine> CreateBatchingEngine(const EngineOptions& options, Scheduler& scheduler,
                                             ServerMetrics& metrics, const Clock& clock) {
  return std::make_unique<BatchingEngine>(options, scheduler, metrics, clock);
}

}  // namespace bitmill
