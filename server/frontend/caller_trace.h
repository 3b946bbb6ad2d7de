// The trace context of a call's metadata.
#pragma once

#include <optional>

#include "grpcpp/server_context.h"
#include "server/tracing/trace_context.h"

namespace bitmill {

// Nothing when the caller sent no traceparent, a wrong one or several. Several tracestates are one
// list, as the specification says.
std::optional<TraceContext> CallerTrace(const grpc::ServerContextBase& context);

}  // namespace bitmill
