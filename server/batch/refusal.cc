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
  return BackOff(absl::StrCat(model, ": the queue is full (", requests,
                              requests == 1 ? " request waits)" : " requests wait)"),
                 busy_ns);
}

absl::Status TooLateStatus(const std::string& model, const TooLate& why) {
  const int64_t late_ms = (why.late_ns + kNanosPerMilli - 1) / kNanosPerMilli;
  const int64_t within_us = why.within_ns / 1000;
  const std::string what =
      why.within_ns > 0
          ? absl::StrCat(late_ms, " ms later than the ", static_cast<double>(within_us) / 1000,
                         " ms that are allowed")
          : absl::StrCat(late_ms, " ms after the request's deadline");
  return BackOff(absl::StrCat(model, " is busy: the answer would come about ", what), why.late_ns);
}

}  // namespace bitmill
