// An analysis that says what a test gives it, and a quality watch that remembers what it was told.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "server/analysis/analysis_source.h"
#include "server/analysis/quality_service.h"

namespace bitmill {

inline Warning MakeWarning(int64_t id, WarningReason reason, const std::string& model) {
  Warning warning;
  warning.id = id;
  warning.reason = reason;
  warning.model = model;
  return warning;
}

inline Adaptation MakeAdaptation(int64_t id, Control control, const std::string& model) {
  Adaptation adaptation;
  adaptation.id = id;
  adaptation.control = control;
  adaptation.model = model;
  return adaptation;
}

class FakeAnalysis final : public AnalysisSource {
 public:
  // The newest report from now on; subscribers are told, on this thread.
  void Publish(AnalysisReport report) {
    auto shared = std::make_shared<const AnalysisReport>(std::move(report));
    {
      MutexLock lock(&mutex_);
      newest_ = std::move(shared);
    }
    MutexLock lock(&subscribers_mutex_);
    for (const auto& [id, on_report] : subscribers_) on_report();
  }
  size_t subscribers() const {
    MutexLock lock(&subscribers_mutex_);
    return subscribers_.size();
  }

  std::shared_ptr<const AnalysisReport> Newest() const override {
    MutexLock lock(&mutex_);
    return newest_;
  }
  int64_t Subscribe(std::function<void()> on_report) override {
    MutexLock lock(&subscribers_mutex_);
    subscribers_[++last_id_] = std::move(on_report);
    return last_id_;
  }
  void Unsubscribe(int64_t id) override {
    MutexLock lock(&subscribers_mutex_);
    subscribers_.erase(id);
  }
  // These answer what was set below, and remember what they were asked for.
  std::vector<HistoryPoint> History(absl::string_view model, int64_t version,
                                    int seconds) const override {
    Ask(absl::StrCat("history ", model, " ", version, " ", seconds));
    return history;
  }
  std::vector<RequestRecord> SampledRequests(absl::string_view model, int64_t version,
                                             int count) const override {
    Ask(absl::StrCat("requests ", model, " ", version, " ", count));
    return requests;
  }
  std::vector<Warning> Warnings(double max_age_seconds) const override {
    Ask(absl::StrCat("warnings ", max_age_seconds));
    return warnings;
  }
  std::vector<Adaptation> Adaptations(absl::string_view model) const override {
    Ask(absl::StrCat("adaptations ", model));
    return adaptations;
  }
  std::vector<std::string> asked() const {
    MutexLock lock(&mutex_);
    return asked_;
  }

  // Set these before the source is used.
  std::vector<HistoryPoint> history;
  std::vector<RequestRecord> requests;
  std::vector<Warning> warnings;
  std::vector<Adaptation> adaptations;

 private:
  void Ask(std::string what) const {
    MutexLock lock(&mutex_);
    asked_.push_back(std::move(what));
  }

  mutable Mutex mutex_;
  std::shared_ptr<const AnalysisReport> newest_ ABSL_GUARDED_BY(mutex_) =
      std::make_shared<const AnalysisReport>();
  mutable Mutex subscribers_mutex_;  // held while they are told
  std::map<int64_t, std::function<void()>> subscribers_ ABSL_GUARDED_BY(subscribers_mutex_);
  int64_t last_id_ ABSL_GUARDED_BY(subscribers_mutex_) = 0;
  mutable std::vector<std::string> asked_ ABSL_GUARDED_BY(mutex_);
};

class FakeQuality final : public QualityService {
 public:
  absl::StatusOr<FeedbackCounts> Feedback(absl::string_view model, int64_t version,
                                          absl::Span<const TrueLabel> labels) override {
    MutexLock lock(&mutex_);
    for (const TrueLabel& label : labels) {
      told_.push_back(absl::StrCat(
          model, " ", version, label.by_input ? " input=" : " id=", label.key, " row=", label.row,
          label.is_class ? absl::StrCat(" class=", label.class_index)
                         : absl::StrCat(" value=", label.value)));
    }
    return counts;
  }
  absl::Status Promote(absl::string_view model, int64_t version) override {
    MutexLock lock(&mutex_);
    told_.push_back(absl::StrCat("promote ", model, " ", version));
    return promoted;
  }
  std::vector<std::string> told() const {
    MutexLock lock(&mutex_);
    return told_;
  }

  // Set these before it is used.
  FeedbackCounts counts;
  absl::Status promoted;

 private:
  mutable Mutex mutex_;
  std::vector<std::string> told_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
