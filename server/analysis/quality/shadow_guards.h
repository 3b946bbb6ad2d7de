// Whether a shadow version may take over: what was seen of it beside the version that answers, and
// the guards that it must pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/analysis/quality/read_answer.h"
#include "server/metrics/answer_tap.h"

namespace bitmill {

struct Interval {
  double low = 0, high = 1;
};
// The 95 % score interval of Wilson (1927) for a share of `part` in `whole`; 0 to 1 where `whole`
// is 0.
Interval WilsonInterval(int64_t part, int64_t whole);

// The value at rank ceil(quantile * n) of `values`, in any order; 0 when there are none.
int64_t QuantileOf(std::vector<int64_t> values, double quantile);

// Since the shadow version was first seen.
struct ShadowCounts {
  int64_t version = 0;  // of the shadow; 0: there is none
  int64_t requests = 0, failed = 0;
  int64_t compared = 0, agreed = 0;  // rows
  int64_t dropped = 0;               // sampled requests that the queue had no room for
  // Of the last requests that both versions computed: from queued to computed.
  std::vector<int64_t> live_ns, shadow_ns;

  double agreement() const {
    return compared == 0 ? 0 : static_cast<double>(agreed) / static_cast<double>(compared);
  }
};

// By labels; of the version that answers and of the shadow.
struct AccuracyPair {
  int64_t live_labels = 0, shadow_labels = 0;
  double live = 0, shadow = 0;
};

// FailedPrecondition names the first guard that does not hold, with the number seen and the one
// wanted: "guard promote_min_agreement: ...". Latency is compared from 100 requests on, accuracy
// from min_labels on for both; fewer do not refuse.
absl::Status CheckGuards(const PromotionGuards& guards, const ShadowCounts& counts,
                         const AccuracyPair& accuracy);

// Rows of the answers of two versions that agree: the same class where the first output has
// classes, otherwise all elements of all outputs within the tolerance (answer_tap.h; NaN agrees
// with NaN).
int64_t CountAgreeing(const AnswerMeaning& meaning, absl::Span<const TapPort> outputs, int64_t rows,
                      absl::Span<const std::byte* const> live,
                      absl::Span<const std::byte* const> shadow, double tolerance);

}  // namespace bitmill
