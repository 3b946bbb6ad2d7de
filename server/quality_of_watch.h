// The RPCs Feedback and Promote, answered by the quality watch and the repository.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/analysis/quality/quality_watch.h"
#include "server/analysis/quality_service.h"
#include "server/repository/repository.h"

namespace bitmill {

class QualityOfWatch final : public QualityService {
 public:
  // Borrows both.
  QualityOfWatch(ModelRepository& repository, QualityWatch& watch)
      : repository_(repository), watch_(watch) {}

  absl::StatusOr<FeedbackCounts> Feedback(absl::string_view model, int64_t version,
                                          absl::Span<const TrueLabel> labels) override;
  absl::Status Promote(absl::string_view model, int64_t version) override;

 private:
  ModelRepository& repository_;
  QualityWatch& watch_;
};

}  // namespace bitmill
