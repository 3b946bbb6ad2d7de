// What a request is told that the batcher does not take: RESOURCE_EXHAUSTED, with the time after
// which a retry is likely to find room (kRetryAfterPayload).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"

namespace bitmill {

// `requests` wait, which take `busy_ns`; `model` begins the message.
absl::Status QueueFullStatus(const std::string& model, int64_t requests, MonotonicNanos busy_ns);

// It would be answered `late_ns` after it is wanted, with `within_ns` to be admitted.
absl::Status TooLateStatus(const std::string& model, MonotonicNanos late_ns,
                           MonotonicNanos within_ns);

}  // namespace bitmill
