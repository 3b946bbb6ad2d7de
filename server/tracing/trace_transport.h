// Takes export messages to a collector.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace bitmill {

class TraceTransport {
 public:
  virtual ~TraceTransport() = default;
  // Returns how many spans the collector refused by itself; it keeps the others. Waits for the
  // answer, at most `timeout_ns`; Cancelled soon after `*stop` has become true (null: never). One
  // call at a time.
  virtual absl::StatusOr<int64_t> Send(const std::string& message, int64_t timeout_ns,
                                       const std::atomic<bool>* stop) = 0;
};

// OTLP over gRPC, without encryption, to "host:port". Connects when it first sends; nothing is
// checked here.
std::unique_ptr<TraceTransport> CreateOtlpTransport(const std::string& endpoint);

}  // namespace bitmill
