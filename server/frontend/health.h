// grpc.health.v1. What can be asked for: "" and "readiness" (the server can serve every model it
// was started with and is not draining), "inference.GRPCInferenceService" (the same), "liveness"
// and "grpc.health.v1.Health" (it answers), and the name of each model of the repository.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/frontend/frontend_context.h"
#include "server/frontend/generic_call.h"

namespace bitmill {

// Whether a service is serving; nullopt for a name that is not known.
std::optional<bool> IsServing(const FrontendContext& context, const std::string& service);

// Check, from serialized request to serialized answer.
absl::StatusOr<std::string> CheckHealth(FrontendContext& context, const std::string& request);

class HealthWatch;

// The Watch calls that are open. Thread-safe.
class HealthWatchers {
 public:
  std::unique_ptr<CallHandler> Create(GenericCall& call);
  // Something may have changed: every watcher looks again, on its own thread.
  void Notify();
  // Nothing is done on a Notify any more.
  void Close();

 private:
  friend class HealthWatch;
  void Remove(HealthWatch* watch);

  Mutex mutex_;
  std::unordered_set<HealthWatch*> open_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bitmill
