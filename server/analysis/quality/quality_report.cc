#include "server/analysis/quality/quality_report.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "server/analysis/quality/classification_window.h"
#include "server/analysis/quality/drift_scores.h"

namespace bitmill {
namespace {

constexpr double kLeastDrop = 0.02;
constexpr double kStandardErrors = 3;
constexpr double kNotANumberShare = 0.001;
constexpr double kOutOfRangeShare = 0.05;

bool AccuracyDropped(double first, double recent) {
  if (first < 0 || recent < 0 || first - recent < kLeastDrop) return false;
  const double both = (first + recent) / 2;
  const double error = std::sqrt(both * (1 - both) * 2 / static_cast<double>(kAccuracyBlock));
  return first - recent > kStandardErrors * error;
}

}  // namespace

std::vector<RaisedAlert> AlertsOf(const QualityReport& report) {
  std::vector<RaisedAlert> alerts;
  if (report.input_psi >= kPsiOtherDistribution) {
    alerts.push_back(
        {QualityAlert::kInputDrift,
         absl::StrFormat("inputs differ from the reference: PSI %.2f at %s, KS %.2f, %d rows",
                         report.input_psi, report.worst_feature, report.input_ks,
                         report.drift_rows)});
  }
  if (report.prediction_psi >= kPsiOtherDistribution) {
    alerts.push_back({QualityAlert::kPredictionDrift,
                      absl::StrFormat("predictions differ from the reference: PSI %.2f, %d rows",
                                      report.prediction_psi, report.drift_rows)});
  }
  if (AccuracyDropped(report.first_accuracy, report.recent_accuracy)) {
    alerts.push_back(
        {QualityAlert::kAccuracyDrop,
         absl::StrFormat("accuracy %.3f of the last %d labels, %.3f of the first",
                         report.recent_accuracy, kAccuracyBlock, report.first_accuracy)});
  }
  if (report.not_a_number_share >= kNotANumberShare ||
      report.out_of_range_share >= kOutOfRangeShare) {
    alerts.push_back(
        {QualityAlert::kInvalidInputs,
         absl::StrFormat("%.2f %% of the input values are no number, %.2f %% out of range",
                         report.not_a_number_share * 100, report.out_of_range_share * 100)});
  }
  return alerts;
}

}  // namespace bitmill
