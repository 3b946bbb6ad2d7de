// What all calls of the frontend share.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "server/engine/engine.h"
#include "server/frontend/grpc_server.h"
#include "server/metrics/metrics.h"
#include "server/repository/repository.h"

namespace bitmill {

class LoadReporter;

struct FrontendContext {
  const FrontendOptions& options;
  ModelRepository& repository;
  Engine& engine;
  ServerMetrics& metrics;
  const Clock& clock;
  const FrontendServices& services;
  const LoadReporter& load;
  std::atomic<bool> draining{false};
  std::atomic<int64_t> in_flight_bytes{0};  // received and being answered
};

}  // namespace bitmill
