// What is known of the quality of one version's answers, as plain values: the same for the RPCs,
// the metrics and the web page. Shares are 0 to 1; -1 stands for what is not known (yet).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace bitmill {

enum class QualityAlert : uint8_t { kInputDrift, kPredictionDrift, kAccuracyDrop, kInvalidInputs };
inline constexpr std::array<const char*, 4> kQualityAlertNames = {
    "input_drift", "prediction_drift", "accuracy_drop", "invalid_inputs"};

struct RaisedAlert {
  QualityAlert alert = QualityAlert::kInputDrift;
  std::string message;
};

struct QualityReport {
  std::string model;
  int64_t version = 0;

  // By the labels in the rolling window (classification_window.h).
  int64_t labels = 0;
  double accuracy = -1, macro_precision = -1, macro_recall = -1, macro_f1 = -1;  // of classes
  double calibration_error = -1;
  double first_accuracy = -1, recent_accuracy = -1;
  std::vector<std::string> classes;  // numbers; empty where there are more than 100
  std::vector<int64_t> confusion;    // [true][predicted], classes squared, row-major
  double mean_absolute_error = -1, root_mean_square_error = -1;  // of values

  // Of sampled rows in the sliding window (distribution_drift.h).
  int64_t drift_rows = 0;
  double input_psi = -1, input_ks = -1;  // of the worst feature
  std::string worst_feature;             // by PSI: "pixels[391]"
  double prediction_psi = -1;            // of the classes, or of the score or value, the larger
  double not_a_number_share = 0, out_of_range_share = 0, outlier_share = 0;
  int64_t values_total = 0, not_a_number_total = 0, out_of_range_total = 0;  // since the load

  // Share of the thresholds of one-bit and low-bit layers that a step of one count crosses.
  double sign_flip_share = -1;

  // The version held back beside this one (shadow_guards.h).
  int64_t shadow_version = 0;  // 0: none was seen
  int64_t shadow_compared = 0, shadow_requests = 0, shadow_failed = 0, shadow_dropped = 0;
  double shadow_agreement = -1, shadow_agreement_low = -1, shadow_agreement_high = -1;

  std::vector<RaisedAlert> alerts;  // that hold
};

// Labels that were sent for a model, since the start.
struct FeedbackTotals {
  std::string model;
  int64_t matched = 0, unmatched = 0, invalid = 0;
};

// What should be warned of, by the numbers of the report:
//   input or prediction drift  PSI at least 0.25
//   accuracy drop              the last 500 labels are less accurate than the first 500 by 0.02
//                              and by three standard errors of the difference
//   invalid inputs             1 in 1,000 sampled values is NaN, or 1 in 20 is out of range
std::vector<RaisedAlert> AlertsOf(const QualityReport& report);

}  // namespace bitmill
