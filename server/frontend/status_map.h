// The one place where a status of ours becomes a gRPC status.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace bitmill {

// The same canonical code; the message is cut to 4 KiB, because it travels in a header.
grpc::Status ToGrpcStatus(const absl::Status& status);

// After how many milliseconds a refused request may be tried again; sent as the trailing metadata
// grpc-retry-pushback-ms, which gRPC clients with a retry policy obey.
std::optional<int64_t> RetryAfterMillis(const absl::Status& status);

}  // namespace bitmill
