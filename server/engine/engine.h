// Executes decoded inference requests: finds the model, batches, schedules, runs, answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/metrics/stage_times.h"
#include "server/repository/repository.h"

namespace bitmill {

// One request as the batcher sees it. The frontend owns it and keeps it (with the bytes that it
// points to) alive until `done` has been called, exactly once, from any thread.
struct InferTask {
  ModelHandle model;
  int64_t rows = 1;
  // inputs[i]: packed rows of input i, rows * row_bytes bytes, borrowed from the received message.
  absl::Span<const std::byte* const> inputs;
  // outputs[i]: where rows * row_bytes bytes of output i go (in the response being built).
  absl::Span<std::byte* const> outputs;
  int64_t received_ns = 0;          // monotonic
  int64_t deadline_ns = 0;          // monotonic; 0: none
  uint64_t priority = 0;            // 0 or 1 is highest, as in Triton
  std::function<bool()> cancelled;  // asked just before execution; may be empty
  StageTimes times;
  int64_t batch_rows = 0;  // rows of the execution that it took part in
  // Called when finished. Must be quick; runs on a worker or on the submitting thread.
  void (*done)(InferTask& task, absl::Status status) = nullptr;
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Queues or runs the task; `may_run_inline` allows a short model to run on the calling thread
  // before Submit returns. Thread-safe.
  virtual void Submit(InferTask& task, bool may_run_inline) = 0;

  // The factory that ModelRepository needs.
  virtual RuntimeFactory runtime_factory() = 0;

  // No task is accepted any more (Unavailable); waits until those accepted are done.
  virtual void Drain() = 0;
};

}  // namespace bitmill
