// How well a version predicts, by the labels that came back: rolling windows of (true, predicted)
// and the usual measures of them, recomputed when asked for (10,000 labels: about 0.1 ms).
//
// Of the classes that occur in the window, as truth or as prediction, with TP, FP and FN of each:
//   accuracy     share of labels with predicted = true
//   precision_c  TP / (TP + FP), 0 where the class was never predicted
//   recall_c     TP / (TP + FN), 0 where it was never true
//   F1_c         2 TP / (2 TP + FP + FN)
//   macro        plain mean over these classes (scikit-learn's average="macro", zero_division=0)
//   calibration  expected calibration error (Guo et al., arXiv:1706.04599): ten bins of equal width
//                of the score, (0, 0.1], .., (0.9, 1], a score of 0 in the first; the sum over bins
//                of their share of the labels times |share correct - mean score|
// Of values: mean absolute error and root mean square error.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "server/analysis/quality/rolling_window.h"

namespace bitmill {

inline constexpr int64_t kMaxConfusionClasses = 100;
// Labels at the start, and newest ones, whose accuracies are compared.
inline constexpr int64_t kAccuracyBlock = 500;

struct ClassSample {
  int32_t truth = 0, predicted = 0;  // at least 0
  float score = -1;                  // of the predicted class, 0 to 1; below 0: not known
};

struct ClassCounts {
  int32_t index = 0;
  int64_t true_positive = 0, false_positive = 0, false_negative = 0;
  double precision = 0, recall = 0, f1 = 0;
};

struct ClassificationScores {
  int64_t labels = 0;  // 0: everything else means nothing
  double accuracy = 0, macro_precision = 0, macro_recall = 0, macro_f1 = 0;
  double calibration_error = -1;  // -1: no sample has a score
  // Share correct of the first and of the last kAccuracyBlock labels; -1: so many did not come yet
  // (of the last: since the first ones).
  double first_accuracy = -1, recent_accuracy = -1;
  std::vector<ClassCounts> classes;  // that occur, by index
  // [true][predicted], row-major, over classes 0 .. confusion_classes - 1; empty when a class of
  // kMaxConfusionClasses or more occurs.
  int64_t confusion_classes = 0;
  std::vector<int64_t> confusion;
};

class ClassificationWindow {
 public:
  // `classes`: how many the model has; 0: not known, the confusion is as large as what occurs.
  ClassificationWindow(const WindowLimits& limits, int64_t classes)
      : classes_(classes), window_(limits) {}

  void Add(MonotonicNanos now, const ClassSample& sample);
  ClassificationScores Scores(MonotonicNanos now);

 private:
  const int64_t classes_;
  int64_t added_ = 0, first_correct_ = 0;  // labels ever; correct of the first kAccuracyBlock
  RollingWindow<ClassSample> window_;
};

struct ValueSample {
  double truth = 0, predicted = 0;
};

struct ValueScores {
  int64_t labels = 0;
  double mean_absolute_error = 0, root_mean_square_error = 0;
};

class ValueWindow {
 public:
  explicit ValueWindow(const WindowLimits& limits) : window_(limits) {}

  void Add(MonotonicNanos now, const ValueSample& sample) { window_.Add(now, sample); }
  ValueScores Scores(MonotonicNanos now);

 private:
  RollingWindow<ValueSample> window_;
};

}  // namespace bitmill
