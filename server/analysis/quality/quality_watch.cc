#include "server/analysis/quality/quality_watch.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

absl::Status NotWatched(absl::string_view model, int64_t version) {
  return absl::NotFoundError(absl::StrCat(
      "model '", model, "'", version == 0 ? std::string() : absl::StrCat(" version ", version),
      " is not watched: it is not served, or its parameter 'watch' is not 'on'"));
}

}  // namespace

QualityWatch::QualityWatch(const Clock& clock, const ShadowRuns::Limits& shadows)
    : clock_(clock), shadows_(std::make_shared<ShadowRuns>(shadows)) {}

absl::StatusOr<std::shared_ptr<AnswerTap>> QualityWatch::Watch(const TappedModel& model) {
  BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<WatchedVersion> version,
                           WatchedVersion::Create(model, clock_, shadows_));
  MutexLock lock(&mutex_);
  std::erase_if(versions_, [](const auto& entry) { return entry.second.expired(); });
  versions_[{model.name, model.version}] = version;
  return std::shared_ptr<AnswerTap>(std::move(version));
}

std::vector<std::shared_ptr<WatchedVersion>> QualityWatch::Find(absl::string_view model,
                                                                int64_t version) const {
  std::vector<std::shared_ptr<WatchedVersion>> found;
  MutexLock lock(&mutex_);
  for (auto entry = versions_.lower_bound({std::string(model), version});
       entry != versions_.end() && entry->first.first == model; ++entry) {
    if (version != 0 && entry->first.second != version) break;
    if (auto held = entry->second.lock()) found.push_back(std::move(held));
  }
  std::ranges::reverse(found);
  return found;
}

std::vector<std::shared_ptr<WatchedVersion>> QualityWatch::All() const {
  std::vector<std::shared_ptr<WatchedVersion>> all;
  MutexLock lock(&mutex_);
  for (const auto& [key, entry] : versions_) {
    if (auto held = entry.lock()) all.push_back(std::move(held));
  }
  return all;
}

absl::StatusOr<QualityWatch::FeedbackResult> QualityWatch::Feedback(
    absl::string_view model, int64_t version, absl::Span<const QualityLabel> labels) {
  const auto versions = Find(model, version);
  if (versions.empty()) return NotWatched(model, version);
  const MonotonicNanos now = clock_.Now();
  FeedbackResult result;
  for (const QualityLabel& label : labels) {
    bool matched = false, invalid = false;
    for (const auto& one : versions) {
      const LabelFate fate = one->Label(now, label);
      matched |= fate == LabelFate::kMatched;
      invalid |= fate == LabelFate::kInvalid;
    }
    ++(matched ? result.matched : invalid ? result.invalid : result.unmatched);
  }
  MutexLock lock(&mutex_);
  FeedbackTotals& totals = feedbacks_[std::string(model)];
  totals.model = std::string(model);
  totals.matched += result.matched;
  totals.unmatched += result.unmatched;
  totals.invalid += result.invalid;
  return result;
}

absl::StatusOr<QualityReport> QualityWatch::Report(absl::string_view model, int64_t version) {
  const auto versions = Find(model, version);
  if (versions.empty()) return NotWatched(model, version);
  return versions.front()->Report(clock_.Now());
}

std::vector<QualityReport> QualityWatch::Reports() {
  std::vector<QualityReport> reports;
  for (const auto& version : All()) reports.push_back(version->Report(clock_.Now()));
  return reports;
}

std::vector<FeedbackTotals> QualityWatch::Feedbacks() const {
  std::vector<FeedbackTotals> totals;
  MutexLock lock(&mutex_);
  totals.reserve(feedbacks_.size());
  for (const auto& [model, one] : feedbacks_) totals.push_back(one);
  return totals;
}

std::vector<MetricPoint> QualityWatch::Points() { return QualityPoints(Reports(), Feedbacks()); }

absl::Status QualityWatch::CheckPromotion(absl::string_view model, int64_t live, int64_t version) {
  const auto answering = Find(model, live);
  if (live == 0 || answering.empty()) return NotWatched(model, live);
  const ShadowCounts counts = answering.front()->shadow();
  if (counts.version != version) {
    return absl::FailedPreconditionError(absl::StrCat(
        "guard promote_min_compared: version ", version, " did not run as the shadow of version ",
        live, counts.version == 0 ? std::string() : absl::StrCat("; ", counts.version, " does")));
  }
  AccuracyPair accuracy;
  const MonotonicNanos now = clock_.Now();
  const ClassificationScores live_scores = answering.front()->classification(now);
  accuracy.live_labels = live_scores.labels;
  accuracy.live = live_scores.accuracy;
  if (const auto shadow = Find(model, version); !shadow.empty()) {
    const ClassificationScores scores = shadow.front()->classification(now);
    accuracy.shadow_labels = scores.labels;
    accuracy.shadow = scores.accuracy;
  }
  return CheckGuards(answering.front()->model().settings.guards, counts, accuracy);
}

}  // namespace bitmill
