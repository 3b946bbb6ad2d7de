// Watches the answers of all versions that ask for it: labels that come back, drift, shadow runs,
// and whether a shadow may take over.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/analysis/quality/quality_report.h"
#include "server/analysis/quality/shadow.h"
#include "server/analysis/quality/watched_version.h"
#include "server/metrics/answer_tap.h"
#include "server/metrics/metric_point.h"

namespace bitmill {

// Thread-safe. A version is known as long as somebody holds its tap (the served version does); one
// that is loaded again starts afresh.
class QualityWatch final : public AnswerTaps {
 public:
  // `clock` is borrowed.
  explicit QualityWatch(const Clock& clock, const ShadowRuns::Limits& shadows = {});
  ~QualityWatch() override { StopShadows(); }
  QualityWatch(const QualityWatch&) = delete;
  QualityWatch& operator=(const QualityWatch&) = delete;

  absl::StatusOr<std::shared_ptr<AnswerTap>> Watch(const TappedModel& model) override;

  // Shadow requests are sampled between these two; call each once. `server` is borrowed.
  void StartShadows(ShadowServer& server) { shadows_->Start(server); }
  // Returns when the one that runs is done; the engine must still answer.
  void StopShadows() { shadows_->Stop(); }
  // For tests: no thread runs what waits, RunOne does.
  ShadowRuns& shadows() { return *shadows_; }

  // `version` 0: all versions of the model that remember the answer, shadows included. NotFound
  // when no such version is watched. A label counts in the first of: matched, invalid, unmatched.
  struct FeedbackResult {
    int64_t matched = 0, unmatched = 0, invalid = 0;
  };
  absl::StatusOr<FeedbackResult> Feedback(absl::string_view model, int64_t version,
                                          absl::Span<const QualityLabel> labels);

  // `version` 0: the newest that is watched. NotFound as above.
  absl::StatusOr<QualityReport> Report(absl::string_view model, int64_t version);
  // Of all watched versions, by name and version.
  std::vector<QualityReport> Reports();
  std::vector<FeedbackTotals> Feedbacks() const;
  // Everything as metrics; docs/analysis_quality.md lists them.
  std::vector<MetricPoint> Points();

  // OK when `version` ran as the shadow of `live` and passes all guards of the model's
  // configuration; FailedPrecondition names the one that does not hold. NotFound when `live` is not
  // watched.
  absl::Status CheckPromotion(absl::string_view model, int64_t live, int64_t version);

 private:
  using Key = std::pair<std::string, int64_t>;  // name, version

  // Newest first; version 0: all.
  std::vector<std::shared_ptr<WatchedVersion>> Find(absl::string_view model, int64_t version) const;
  std::vector<std::shared_ptr<WatchedVersion>> All() const;

  const Clock& clock_;
  const std::shared_ptr<ShadowRuns> shadows_;
  mutable Mutex mutex_;
  std::map<Key, std::weak_ptr<WatchedVersion>> versions_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, FeedbackTotals> feedbacks_ ABSL_GUARDED_BY(mutex_);
};

// As metrics: reports of all versions, and labels of all models.
std::vector<MetricPoint> QualityPoints(absl::Span<const QualityReport> reports,
                                       absl::Span<const FeedbackTotals> feedbacks);

}  // namespace bitmill
