// grpc.health.v1. What can be asked for: "" and "readiness" (the server can serve every model it
// was started with and is not draining), "inference.GRPCInferenceService" (the same), "liveness"
// and "grpc.health.v1.Health" (it answers), and the name of each model of the repository.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/frontend/frontend_context.h"
#include "server/frontend/generic_call.h"
#include "server/frontend/watch_list.h"

namespace bitmill {

// Whether a service is serving; nullopt for a name that is not known.
std::optional<bool> IsServing(const FrontendContext& context, const std::string& service);

// Check, from serialized request to serialized answer.
absl::StatusOr<std::string> CheckHealth(FrontendContext& context, const std::string& request);

// Watch. `list` outlives the call.
std::unique_ptr<CallHandler> CreateHealthWatch(GenericCall& call, WatchList& list);

}  // namespace bitmill
