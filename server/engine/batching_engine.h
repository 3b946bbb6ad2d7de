// The Engine that gives each model version a DynamicBatcher and preallocated execution contexts.
#pragma once

#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "server/engine/engine.h"
#include "server/metrics/metrics.h"
#include "server/metrics/request_log.h"
#include "server/schedule/scheduler.h"

namespace bitmill {

struct EngineOptions {
  // Batches predicted to be shorter run on the thread that received them; docs/decisions/0002.
  int64_t inline_limit_ns = 100'000;
  int64_t max_batch_bytes = int64_t{256} << 20;  // of the inputs of one execution
  RequestLog* log = nullptr;  // gets a record of each execution; borrowed, null: none
};

// Borrows everything; create it after the scheduler and before the repository, which needs its
// runtime_factory(), and destroy it after the repository.
std::unique_ptr<Engine> CreateBatchingEngine(const EngineOptions& options, Scheduler& scheduler,
                                             ServerMetrics& metrics, const Clock& clock);

}  // namespace bitmill
