// The reports of a WatchedVersion.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/analysis/quality/watched_version.h"

namespace bitmill {
namespace {

// Makes a reference out of the first rows, once there are enough.
void InstallRecording(DistributionDrift& drift, size_t features) {
  std::optional<DistributionDrift::Recording> recording = drift.TakeRecording();
  if (!recording) return;
  drift.Install(std::make_shared<RowsReference>(recording->values, features,
                                                std::move(recording->categories)));
}

}  // namespace

void WatchedVersion::TakeInPending() {
  std::vector<SampledRow> rows;
  std::vector<float> values;
  {
    MutexLock lock(&pending_mutex_);
    rows.swap(pending_rows_);
    values.swap(pending_values_);
  }
  const size_t width = features_.size();
  for (size_t i = 0; i < rows.size(); ++i) {
    const SampledRow& row = rows[i];
    input_drift_.Add(row.at_ns, absl::MakeConstSpan(values).subspan(i * width, width), -1);
    prediction_drift_.Add(row.at_ns, absl::MakeConstSpan(&row.prediction, 1), row.bucket);
    // What comes after the last row of a reference is compared with it already.
    InstallRecording(input_drift_, width);
    InstallRecording(prediction_drift_, 1);
  }
}

void WatchedVersion::ReportDrift(MonotonicNanos now, QualityReport& report) {
  const DriftScores inputs = input_drift_.Scores(now);
  report.drift_rows = inputs.rows;
  report.input_psi = inputs.psi;
  report.input_ks = inputs.ks;
  if (inputs.worst_feature >= 0) {
    const Feature& feature = features_[static_cast<size_t>(inputs.worst_feature)];
    report.worst_feature =
        absl::StrCat(model_.inputs[feature.input].name, "[", feature.element, "]");
  }
  report.not_a_number_share = inputs.not_a_number;
  report.out_of_range_share = inputs.out_of_range;
  report.outlier_share = inputs.outliers;
  report.values_total = input_drift_.totals().values;
  report.not_a_number_total = input_drift_.totals().not_a_number;
  report.out_of_range_total = input_drift_.totals().out_of_range;
  if (meaning_.kind == AnswerMeaning::Kind::kNone) return;
  const DriftScores predictions = prediction_drift_.Scores(now);
  report.prediction_psi = std::max(predictions.psi, predictions.category_psi);
}

void WatchedVersion::ReportLabels(MonotonicNanos now, QualityReport& report) {
  if (meaning_.kind == AnswerMeaning::Kind::kValue) {
    MutexLock lock(&label_mutex_);
    const ValueScores scores = value_labels_.Scores(now);
    report.labels = scores.labels;
    if (scores.labels == 0) return;
    report.mean_absolute_error = scores.mean_absolute_error;
    report.root_mean_square_error = scores.root_mean_square_error;
    return;
  }
  ClassificationScores scores = classification(now);
  report.labels = scores.labels;
  if (scores.labels == 0) return;
  report.accuracy = scores.accuracy;
  report.macro_precision = scores.macro_precision;
  report.macro_recall = scores.macro_recall;
  report.macro_f1 = scores.macro_f1;
  report.calibration_error = scores.calibration_error;
  report.first_accuracy = scores.first_accuracy;
  report.recent_accuracy = scores.recent_accuracy;
  for (int64_t i = 0; i < scores.confusion_classes; ++i) report.classes.push_back(absl::StrCat(i));
  report.confusion = std::move(scores.confusion);
}

void WatchedVersion::ReportShadow(QualityReport& report) const {
  {
    MutexLock lock(&shadow_mutex_);
    RowMargin sum;
    for (const RowMargin& margin : margins_) {
      sum.thresholds += margin.thresholds;
      sum.near += margin.near;
    }
    if (sum.thresholds > 0) {
      report.sign_flip_share = static_cast<double>(sum.near) / static_cast<double>(sum.thresholds);
    }
  }
  const ShadowCounts counts = shadow();
  report.shadow_version = counts.version;
  report.shadow_requests = counts.requests;
  report.shadow_failed = counts.failed;
  report.shadow_dropped = counts.dropped;
  report.shadow_compared = counts.compared;
  if (counts.compared == 0) return;
  const Interval interval = WilsonInterval(counts.agreed, counts.compared);
  report.shadow_agreement = counts.agreement();
  report.shadow_agreement_low = interval.low;
  report.shadow_agreement_high = interval.high;
}

QualityReport WatchedVersion::Report(MonotonicNanos now) {
  QualityReport report;
  report.model = model_.name;
  report.version = model_.version;
  {
    MutexLock lock(&report_mutex_);
    TakeInPending();
    ReportDrift(now, report);
  }
  ReportLabels(now, report);
  ReportShadow(report);
  report.alerts = AlertsOf(report);
  return report;
}

}  // namespace bitmill
