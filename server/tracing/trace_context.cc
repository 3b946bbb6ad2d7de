#include "server/tracing/trace_context.h"

namespace bitmill {
namespace {

// version "-" trace id "-" parent id "-" flags, in lower-case hexadecimal digits.
constexpr size_t kTraceAt = 3, kParentAt = 36, kFlagsAt = 53, kHeaderBytes = 55;
constexpr uint64_t kSampledFlag = 1;
constexpr uint64_t kForbiddenVersion = 0xFF;

// `digits` has at most 16 characters.
std::optional<uint64_t> ParseHex(absl::string_view digits) {
  uint64_t value = 0;
  for (const char c : digits) {
    if (c >= '0' && c <= '9') {
      value = value << 4 | static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value << 4 | static_cast<uint64_t>(c - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return value;
}

void AppendBytes(uint64_t value, std::string& bytes) {
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
}

}  // namespace

std::optional<TraceContext> ParseTraceParent(absl::string_view header) {
  if (header.size() < kHeaderBytes) return std::nullopt;
  const std::optional<uint64_t> version = ParseHex(header.substr(0, 2));
  if (!version || *version == kForbiddenVersion) return std::nullopt;
  if (header.size() > kHeaderBytes && (*version == 0 || header[kHeaderBytes] != '-')) {
    return std::nullopt;
  }
  for (const size_t dash : {kTraceAt - 1, kParentAt - 1, kFlagsAt - 1}) {
    if (header[dash] != '-') return std::nullopt;
  }
  const std::optional<uint64_t> high = ParseHex(header.substr(kTraceAt, 16));
  const std::optional<uint64_t> low = ParseHex(header.substr(kTraceAt + 16, 16));
  const std::optional<uint64_t> parent = ParseHex(header.substr(kParentAt, 16));
  const std::optional<uint64_t> flags = ParseHex(header.substr(kFlagsAt, 2));
  if (!high || !low || !parent || !flags) return std::nullopt;
  if ((*high == 0 && *low == 0) || *parent == 0) return std::nullopt;
  TraceContext context;
  context.trace = {.high = *high, .low = *low};
  context.parent_span = *parent;
  context.sampled = (*flags & kSampledFlag) != 0;
  return context;
}

std::string SpanIdBytes(uint64_t span) {
  std::string bytes;
  AppendBytes(span, bytes);
  return bytes;
}

std::string TraceIdBytes(const TraceId& trace) {
  std::string bytes;
  AppendBytes(trace.high, bytes);
  AppendBytes(trace.low, bytes);
  return bytes;
}

}  // namespace bitmill
