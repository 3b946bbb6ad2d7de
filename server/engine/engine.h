// Executes decoded inference requests: finds the model, batches, schedules, runs, answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/batch/batch_item.h"
#include "server/batch/dynamic_batcher.h"
#include "server/engine/operation_sampler.h"
#include "server/metrics/metrics.h"
#include "server/repository/repository.h"

namespace bitmill {

// One decoded request. The frontend owns it and keeps it (with the bytes that it points to) alive
// until `done` has been called, exactly once, from any thread.
struct InferTask : BatchItem {
  ModelHandle model;
  // inputs[i]: packed rows of input i, rows * row_bytes bytes, borrowed from the received message.
  absl::Span<const std::byte* const> inputs;
  // outputs[i]: where rows * row_bytes bytes of output i go (in the response being built).
  absl::Span<std::byte* const> outputs;
  int64_t timeout_us = 0;          // asked for by the request itself; 0: none
  MonotonicNanos computed_ns = 0;  // when the computation ended; 0: there was none
  void* owner = nullptr;           // whatever `done` wants to find again
  // Called when finished. Must be quick; runs on a worker or on the submitting thread.
  void (*done)(InferTask& task, const absl::Status& status) = nullptr;
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Queues or runs the tasks; those of one model that are given together are batched together.
  // `may_run_inline` allows a short model to run on the calling thread before Submit returns.
  // Thread-safe.
  virtual void Submit(absl::Span<InferTask* const> tasks, bool may_run_inline) = 0;
  void Submit(InferTask& task, bool may_run_inline) {
    InferTask* const tasks[] = {&task};
    Submit(tasks, may_run_inline);
  }

  // The recorder of a version that was made with runtime_factory(); without a look-up by name.
  virtual ModelMetrics& MetricsOf(const ServedModel& model) const = 0;

  // How a version is served, and how it went so far. Of versions made with runtime_factory();
  // thread-safe.
  virtual BatchControls Controls(const ServedModel& model) const = 0;
  virtual BatchControls ConfiguredControls(const ServedModel& model) const = 0;  // as loaded
  // Values are brought into their bounds: see DynamicBatcher::SetControls.
  virtual void SetControls(const ServedModel& model, const BatchControls& controls) = 0;
  virtual MonotonicNanos LoadedAt(const ServedModel& model) const = 0;
  // In the order of Executable::operations().
  virtual OperationTotals Operations(const ServedModel& model) const = 0;

  // Contexts that a version with these settings gets.
  virtual int64_t ContextsOf(const ModelSettings& settings) const = 0;
  // The factory that ModelRepository needs.
  virtual RuntimeFactory runtime_factory() = 0;

  // No task is accepted any more (Unavailable); waits until those accepted are done.
  virtual void Drain() = 0;
};

}  // namespace bitmill
