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

// Why a request was refused that there was room for.
struct TooLate {
  MonotonicNanos late_ns = 0;    // how much later it would be answered, or those that wait with it
  MonotonicNanos within_ns = 0;  // than so long after its arrival; 0: than its own deadline
};
absl::Status TooLateStatus(const std::string& model, const TooLate& why);

}  // namespace bitmill
