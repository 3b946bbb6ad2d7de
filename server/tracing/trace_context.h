// W3C Trace Context, https://www.w3.org/TR/trace-context/: what a caller says of the trace that its
// request belongs to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "server/metrics/trace_id.h"

namespace bitmill {

struct TraceContext {
  TraceId trace;
  uint64_t parent_span = 0;  // the caller's span; never 0 in a context that was read
  bool sampled = false;
  std::string state;  // the tracestate header, passed on as it is; empty: none
};

// The header `traceparent`. Nothing when it does not follow the specification: then the caller is
// treated as if it had sent none. Of a version that is newer than 00, the part known of 00 is read,
// as the specification wants.
std::optional<TraceContext> ParseTraceParent(absl::string_view header);

// Longer ones are not passed on, which the specification allows.
inline constexpr size_t kMaxTraceStateBytes = 512;

// The 8 and 16 bytes of the identifiers, most significant first, as protocols carry them.
std::string SpanIdBytes(uint64_t span);
std::string TraceIdBytes(const TraceId& trace);

}  // namespace bitmill
