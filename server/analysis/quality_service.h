// What the RPCs Feedback and Promote ask of the watch over the models' quality.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace bitmill {

// The truth about one answer.
struct TrueLabel {
  bool by_input = false;
  absl::string_view key;  // a request's id, or the bytes of a row of the first input; borrowed
  int64_t row = 0;        // of the request, with an id; 0 or more
  bool is_class = true;   // otherwise the value of a regression
  int64_t class_index = 0;
  double value = 0;
};

struct FeedbackCounts {
  int64_t matched = 0;
  int64_t unmatched = 0;  // unknown id or input, or forgotten
  int64_t invalid = 0;    // a class that the model does not have
};

class QualityService {
 public:
  virtual ~QualityService() = default;

  // Each label counts once in the result. The model is served; version 0: whichever answered.
  // Thread-safe; may take as long as hashing the inputs takes.
  virtual absl::StatusOr<FeedbackCounts> Feedback(absl::string_view model, int64_t version,
                                                  absl::Span<const TrueLabel> labels) = 0;
  // Makes the shadow version of a model the one that answers. FailedPrecondition names the guard
  // that does not hold; NotFound for a version that is no shadow. Thread-safe; may take long.
  virtual absl::Status Promote(absl::string_view model, int64_t version) = 0;
};

}  // namespace bitmill
