#include "server/quality_of_watch.h"

#include <vector>

#include "base/status_macros.h"
#include "server/frontend/engine_shadow.h"

namespace bitmill {

absl::StatusOr<FeedbackCounts> QualityOfWatch::Feedback(absl::string_view model, int64_t version,
                                                        absl::Span<const TrueLabel> labels) {
  std::vector<QualityLabel> known;
  known.reserve(labels.size());
  for (const TrueLabel& label : labels) {
    known.push_back({.by_input = label.by_input,
                     .key = label.key,
                     .row = label.row,
                     .is_class = label.is_class,
                     .class_index = label.class_index,
                     .value = label.value});
  }
  BITMILL_ASSIGN_OR_RETURN(const QualityWatch::FeedbackResult result,
                           watch_.Feedback(model, version, known));
  return FeedbackCounts{
      .matched = result.matched, .unmatched = result.unmatched, .invalid = result.invalid};
}

absl::Status QualityOfWatch::Promote(absl::string_view model, int64_t version) {
  return PromoteVersion(repository_, watch_, model, version);
}

}  // namespace bitmill
