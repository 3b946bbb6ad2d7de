#include "server/batch/refusal.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "server/batch/batch_item.h"

namespace bitmill {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;
constexpr int64_t kLongestRetryMillis = 60'000;

absl::Status BackOff(const std::string& what, MonotonicNanos retry_ns) {
  const int64_t retry_ms = std::clamp<int64_t>(retry_ns / kNanosPerMilli, 1, kLongestRetryMillis);
  absl::Status status =
      absl::ResourceExhaustedError(absl::StrCat(what, "; try again in about ", retry_ms, " ms"));
  status.SetPayload(kRetryAfterPayload, absl::Cord(absl::StrCat(retry_ms)));
  return status;
}

}  // namespace

absl::Status QueueFullStatus(const std::string& model, int64_t requests, MonotonicNanos busy_ns) {
  return BackOff(absl::StrCat(model, ": the queue is full (", requests, " requests wait)"),
                 busy_ns);
}

absl::Status TooLateStatus(const std::string& model, MonotonicNanos late_ns,
                           MonotonicNanos within_ns) {
  return BackOff(absl::StrCat(model, ": would be answered about ",
                              (late_ns + kNanosPerMilli - 1) / kNanosPerMilli,
                              " ms later than its deadline or the ", within_ns / 1000,
                              " us within which requests are admitted"),
                 late_ns);
}

}  // namespace bitmill
