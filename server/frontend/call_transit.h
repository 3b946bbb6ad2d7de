// How long a request was on its way, by the word of its client.
#pragma once

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "grpcpp/server_context.h"

namespace bitmill {

// Metadata: when the client sent it, Unix time in nanoseconds, decimal.
inline constexpr char kSentKey[] = "bitmill-sent-unix-ns";
inline constexpr int64_t kMostTransitNanos = 3'600'000'000'000;  // more: the clocks disagree

// Nanoseconds from sent to now; -1: not told, or not believable (before it was sent, after more
// than an hour). One look-up, and a clock reading where the client told.
inline int64_t TransitOf(const grpc::ServerContextBase& context, const Clock& clock) {
  const auto found = context.client_metadata().find(kSentKey);
  if (found == context.client_metadata().end()) return -1;
  int64_t sent_ns = 0;
  if (!absl::SimpleAtoi(absl::string_view(found->second.data(), found->second.size()), &sent_ns)) {
    return -1;
  }
  const int64_t now_ns = clock.UnixNanos();
  if (sent_ns <= 0 || sent_ns > now_ns || now_ns - sent_ns > kMostTransitNanos) return -1;
  return now_ns - sent_ns;
}

}  // namespace bitmill
