// All that is kept of one watched version: its answers for labels to come, sampled rows for drift,
// what its labels said, and how its shadow does.
//
// The request path (OnAnswer) hashes the id and the first input of each row, reads the prediction
// (of many classes the score of every fourth row) and writes a table entry each; of sampled rows
// (200 a second at most) it copies 64 numbers. All else happens where a report is asked for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/analysis/quality/answer_memory.h"
#include "server/analysis/quality/classification_window.h"
#include "server/analysis/quality/distribution_drift.h"
#include "server/analysis/quality/quality_report.h"
#include "server/analysis/quality/read_answer.h"
#include "server/analysis/quality/shadow.h"
#include "server/analysis/quality/shadow_guards.h"
#include "server/metrics/answer_tap.h"

namespace bitmill {

// A true answer that came later.
struct QualityLabel {
  bool by_input = false;
  absl::string_view key;  // a request's id, or the bytes of a row of the first input; borrowed
  int64_t row = 0;        // of the request, with an id
  bool is_class = true;
  int64_t class_index = 0;
  double value = 0;
};

enum class LabelFate : uint8_t {
  kMatched,
  kUnmatched,  // no such answer, or forgotten, or it has a label already
  kInvalid,    // a class that the model does not have, a value where it has classes, a wrong size
};

// Thread-safe.
class WatchedVersion final : public AnswerTap,
                             public ShadowListener,
                             public std::enable_shared_from_this<WatchedVersion> {
 public:
  static constexpr int64_t kMaxFeatures = 64;
  static constexpr int64_t kMaxClassBuckets = 20;
  static constexpr int64_t kManyClasses = 256;  // from so many on, of one row in
  static constexpr uint64_t kScoreEvery = 4;    // so many the score is taken, for calibration
  static constexpr int64_t kSampleSpacingNs = 5'000'000;       // 200 rows a second
  static constexpr int64_t kMaxSampledRows = 16;               // of a request
  static constexpr int64_t kMaxPendingRows = 8192;             // until a report is asked for
  static constexpr int64_t kMarginSpacingNs = 10'000'000'000;  // a row in 10 s,
  static constexpr int64_t kMarginShare = 100;                 // or 1 % of a CPU, whichever is less
  static constexpr size_t kMarginRows = 100;                   // that are averaged

  // Reads the reference file if there is one. `clock` is borrowed; `shadows` may be null.
  static absl::StatusOr<std::shared_ptr<WatchedVersion>> Create(
      const TappedModel& model, const Clock& clock, std::shared_ptr<ShadowRuns> shadows);

  void OnAnswer(const Answer& answer) override;
  void OnShadow(const ShadowRequest& request, const ShadowOutcome& outcome) override;

  LabelFate Label(MonotonicNanos now, const QualityLabel& label);
  // Takes in what was sampled since the last report. About 0.2 ms.
  QualityReport Report(MonotonicNanos now);

  ShadowCounts shadow() const;
  ClassificationScores classification(MonotonicNanos now);
  const TappedModel& model() const { return model_; }
  const AnswerMeaning& meaning() const { return meaning_; }

 private:
  struct Feature {
    size_t input = 0;
    int64_t element = 0;
  };
  struct SampledRow {
    MonotonicNanos at_ns = 0;
    int64_t bucket = -1;
    float prediction = 0;  // score, class or value
  };

  WatchedVersion(const TappedModel& model, const Clock& clock, std::shared_ptr<ShadowRuns> shadows);

  // Rows of a request of `rows` that may be sampled now.
  int64_t SampleAllowance(MonotonicNanos now, int64_t rows);
  void SampleRows(const Answer& answer, int64_t count);
  void OfferToShadow(const Answer& answer);
  // Copies a row, now and then, and measures its margin on the thread of the shadow runs.
  void OfferMargin(const Answer& answer);
  void MeasureMargin(const std::vector<std::vector<std::byte>>& row);
  ScoreShare ShareOfNextRow();
  int64_t BucketOf(const Prediction& prediction) const;
  float NumberOf(const Prediction& prediction) const;
  absl::Status InstallFromFile();
  void TakeInPending() ABSL_EXCLUSIVE_LOCKS_REQUIRED(report_mutex_);
  void ReportDrift(MonotonicNanos now, QualityReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(report_mutex_);
  void ReportLabels(MonotonicNanos now, QualityReport& report);
  void ReportShadow(QualityReport& report) const;

  const TappedModel model_;
  const AnswerMeaning meaning_;
  const Clock& clock_;
  const std::shared_ptr<ShadowRuns> shadows_;
  std::vector<Feature> features_;
  int64_t buckets_ = 0;
  AnswerMemory memory_;
  std::atomic<uint64_t> requests_{0}, scored_{0};
  std::atomic<MonotonicNanos> sampled_until_ns_{0};
  std::atomic<MonotonicNanos> next_margin_ns_{0};

  Mutex pending_mutex_;
  std::vector<SampledRow> pending_rows_ ABSL_GUARDED_BY(pending_mutex_);
  std::vector<float> pending_values_ ABSL_GUARDED_BY(pending_mutex_);  // [row][feature]

  Mutex report_mutex_;
  DistributionDrift input_drift_ ABSL_GUARDED_BY(report_mutex_);
  DistributionDrift prediction_drift_ ABSL_GUARDED_BY(report_mutex_);

  Mutex label_mutex_;
  ClassificationWindow class_labels_ ABSL_GUARDED_BY(label_mutex_);
  ValueWindow value_labels_ ABSL_GUARDED_BY(label_mutex_);

  mutable Mutex shadow_mutex_;
  ShadowCounts shadow_ ABSL_GUARDED_BY(shadow_mutex_);
  size_t next_latency_ ABSL_GUARDED_BY(shadow_mutex_) = 0;
  std::deque<RowMargin> margins_ ABSL_GUARDED_BY(shadow_mutex_);
};

}  // namespace bitmill
