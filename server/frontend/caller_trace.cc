#include "server/frontend/caller_trace.h"

#include <iterator>

namespace bitmill {

std::optional<TraceContext> CallerTrace(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto [parent, parents_end] = metadata.equal_range("traceparent");
  if (parent == parents_end || std::next(parent) != parents_end) return std::nullopt;
  std::optional<TraceContext> caller =
      ParseTraceParent({parent->second.data(), parent->second.size()});
  if (!caller || !caller->sampled) return caller;
  const auto [states, states_end] = metadata.equal_range("tracestate");
  for (auto state = states; state != states_end; ++state) {
    if (!caller->state.empty()) caller->state += ',';
    caller->state.append(state->second.data(), state->second.size());
  }
  if (caller->state.size() > kMaxTraceStateBytes) caller->state.clear();
  return caller;
}

}  // namespace bitmill
