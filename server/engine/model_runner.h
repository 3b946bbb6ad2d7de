// What the engine attaches to a served version: its batcher, execution contexts and counters.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "base/clock.h"
#include "server/batch/dynamic_batcher.h"
#include "server/engine/batching_engine.h"
#include "server/engine/engine.h"
#include "server/engine/operation_sampler.h"
#include "server/metrics/metrics.h"
#include "server/metrics/request_log.h"
#include "server/schedule/scheduler.h"
#include "server/schedule/task_gate.h"

namespace bitmill {

// Executions at a time of a model with these settings, each with a context.
int64_t InstancesOf(const ModelSettings& settings, int concurrency);

class ModelRunner final : public ModelRuntime, public BatchRunner {
 public:
  // Allocates all contexts and runs the warm-up requests (zeros), which also seed the prediction of
  // run times. Internal when the model cannot run at all.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Create(const ServedModel& model,
                                                             const EngineOptions& options,
                                                             Scheduler& scheduler,
                                                             ModelMetrics& metrics, TaskGate& gate,
                                                             const Clock& clock);

  // Tasks of this version that have entered the gate; each leaves it when it is done.
  void Submit(absl::Span<BatchItem* const> tasks, bool may_run_inline);
  void Drain() override { batcher_.Drain(); }
  ModelMetrics& metrics() const { return metrics_; }
  BatchControls controls() const { return batcher_.controls(); }
  const BatchControls& configured() const { return configured_; }
  void SetControls(const BatchControls& controls) { batcher_.SetControls(controls); }
  MonotonicNanos loaded_ns() const { return loaded_ns_; }
  OperationTotals operations() const { return operations_.totals(); }

  int64_t RunBatch(absl::Span<BatchItem* const> items, int64_t rows, int instance) override;
  void Reject(BatchItem& item, const absl::Status& status) override;
  std::shared_ptr<const void> KeepAlive(const BatchItem& item) override;

 private:
  // Of one execution at a time; nothing is allocated while requests run.
  struct Instance {
    std::unique_ptr<ExecutionContext> context;
    std::vector<std::vector<const std::byte*>> input_rows;  // [input][row]
    std::vector<std::vector<std::byte*>> output_rows;       // [output][row]
    std::vector<const std::byte* const*> inputs;            // [input]
    std::vector<std::byte* const*> outputs;                 // [output]
  };

  ModelRunner(const ServedModel& model, const BatcherOptions& options, RequestLog* log,
              Scheduler& scheduler, ModelMetrics& metrics, TaskGate& gate, const Clock& clock);
  absl::Status WarmUp(int64_t requests, int64_t max_rows);
  bool WorthMeasuring(int64_t rows);
  absl::Status Compute(const BatchRows& batch, MonotonicNanos now, Instance& instance);
  // Points the instance's rows at the items' bytes.
  void Assemble(absl::Span<BatchItem* const> items, Instance& instance) const;
  void Finish(InferTask& task, const absl::Status& status);

  const Executable& executable_;
  ModelMetrics& metrics_;
  TaskGate& gate_;
  const Clock& clock_;
  RequestLog* const log_;
  const MonotonicNanos loaded_ns_;
  OperationSampler operations_;
  std::atomic<uint32_t> short_runs_{0};  // since one was measured
  std::vector<Instance> instances_;
  DynamicBatcher batcher_;
  const BatchControls configured_;
};

}  // namespace bitmill
