// Reports as metrics. No series a feature or a class: a watched version has at most twenty.
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/analysis/quality/quality_watch.h"

namespace bitmill {
namespace {

struct Family {
  const char* name;
  const char* help;
  MetricType type;
  // Left out where it is below 0: not known.
  double (*value)(const QualityReport&);
};

double Count(int64_t count) { return static_cast<double>(count); }

constexpr MetricType kGauge = MetricType::kGauge;
constexpr MetricType kCounter = MetricType::kCounter;

const Family kFamilies[] = {
    {"bitmill_quality_labels", "Labels in the rolling window.", kGauge,
     [](const QualityReport& r) { return Count(r.labels); }},
    {"bitmill_quality_accuracy", "Share of labels that were predicted, in the rolling window.",
     kGauge, [](const QualityReport& r) { return r.accuracy; }},
    {"bitmill_quality_precision", "Precision, mean over the classes.", kGauge,
     [](const QualityReport& r) { return r.macro_precision; }},
    {"bitmill_quality_recall", "Recall, mean over the classes.", kGauge,
     [](const QualityReport& r) { return r.macro_recall; }},
    {"bitmill_quality_f1", "F1, mean over the classes.", kGauge,
     [](const QualityReport& r) { return r.macro_f1; }},
    {"bitmill_quality_calibration_error", "Expected calibration error, ten bins.", kGauge,
     [](const QualityReport& r) { return r.calibration_error; }},
    {"bitmill_quality_mean_absolute_error", "Mean absolute error of values.", kGauge,
     [](const QualityReport& r) { return r.mean_absolute_error; }},
    {"bitmill_quality_root_mean_square_error", "Root mean square error of values.", kGauge,
     [](const QualityReport& r) { return r.root_mean_square_error; }},
    {"bitmill_input_drift_psi", "Population stability index of the input that changed most.",
     kGauge, [](const QualityReport& r) { return r.input_psi; }},
    {"bitmill_input_drift_ks", "Kolmogorov-Smirnov distance of the input that changed most.",
     kGauge, [](const QualityReport& r) { return r.input_ks; }},
    {"bitmill_prediction_drift_psi", "Population stability index of the predictions.", kGauge,
     [](const QualityReport& r) { return r.prediction_psi; }},
    {"bitmill_input_outlier_share", "Share of sampled values far from the reference's mean.",
     kGauge, [](const QualityReport& r) { return r.outlier_share; }},
    {"bitmill_input_values_sampled_total", "Input values that were looked at.", kCounter,
     [](const QualityReport& r) { return Count(r.values_total); }},
    {"bitmill_input_not_a_number_total", "Sampled input values that are no number.", kCounter,
     [](const QualityReport& r) { return Count(r.not_a_number_total); }},
    {"bitmill_input_out_of_range_total", "Sampled input values outside the reference's range.",
     kCounter, [](const QualityReport& r) { return Count(r.out_of_range_total); }},
    {"bitmill_sign_flip_share", "Share of thresholds that a step of one count crosses.", kGauge,
     [](const QualityReport& r) { return r.sign_flip_share; }},
};

// Of the version that answers, about its shadow.
const Family kShadowFamilies[] = {
    {"bitmill_shadow_agreement", "Share of rows on which the shadow version agrees.", kGauge,
     [](const QualityReport& r) { return r.shadow_agreement; }},
    {"bitmill_shadow_agreement_low", "Lower end of its 95 % interval.", kGauge,
     [](const QualityReport& r) { return r.shadow_agreement_low; }},
    {"bitmill_shadow_compared_total", "Rows that both versions computed.", kCounter,
     [](const QualityReport& r) { return Count(r.shadow_compared); }},
    {"bitmill_shadow_failed_total", "Requests that the shadow version failed.", kCounter,
     [](const QualityReport& r) { return Count(r.shadow_failed); }},
    {"bitmill_shadow_dropped_total", "Sampled requests that found the queue full.", kCounter,
     [](const QualityReport& r) { return Count(r.shadow_dropped); }},
};

}  // namespace

std::vector<MetricPoint> QualityPoints(absl::Span<const QualityReport> reports,
                                       absl::Span<const FeedbackTotals> feedbacks) {
  std::vector<MetricPoint> points;
  for (const Family& family : kFamilies) {
    for (const QualityReport& report : reports) {
      const double value = family.value(report);
      if (value < 0) continue;
      points.push_back({family.name,
                        family.help,
                        family.type,
                        {{"model", report.model}, {"version", absl::StrCat(report.version)}},
                        value});
    }
  }
  for (const Family& family : kShadowFamilies) {
    for (const QualityReport& report : reports) {
      const double value = family.value(report);
      if (value < 0 || report.shadow_version == 0) continue;
      points.push_back({family.name,
                        family.help,
                        family.type,
                        {{"model", report.model},
                         {"version", absl::StrCat(report.version)},
                         {"shadow_version", absl::StrCat(report.shadow_version)}},
                        value});
    }
  }
  for (const FeedbackTotals& totals : feedbacks) {
    const std::pair<const char*, int64_t> counts[] = {
        {"yes", totals.matched}, {"no", totals.unmatched}, {"invalid", totals.invalid}};
    for (const auto& [matched, count] : counts) {
      points.push_back({"bitmill_feedback_labels_total",
                        "Labels that were sent, by what became of them.",
                        MetricType::kCounter,
                        {{"model", totals.model}, {"matched", matched}},
                        Count(count)});
    }
  }
  return points;
}

}  // namespace bitmill
