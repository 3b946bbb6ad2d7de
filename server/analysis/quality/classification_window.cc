#include "server/analysis/quality/classification_window.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>

namespace bitmill {
namespace {

constexpr size_t kCalibrationBins = 10;

double Ratio(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Collects |share correct - mean score| over bins of the score.
class Calibration {
 public:
  void Add(const ClassSample& sample) {
    if (!(sample.score >= 0)) return;
    const double score = std::min(1.0, static_cast<double>(sample.score));
    const double place = std::ceil(score * static_cast<double>(kCalibrationBins)) - 1;
    Bin& bin = bins_[static_cast<size_t>(std::max(0.0, place))];
    ++bin.count;
    bin.correct += sample.truth == sample.predicted ? 1 : 0;
    bin.score += score;
    ++count_;
  }
  double Error() const {
    if (count_ == 0) return -1;
    double sum = 0;
    for (const Bin& bin : bins_) sum += std::abs(static_cast<double>(bin.correct) - bin.score);
    return sum / static_cast<double>(count_);
  }

 private:
  struct Bin {
    int64_t count = 0, correct = 0;
    double score = 0;
  };
  std::array<Bin, kCalibrationBins> bins_{};
  int64_t count_ = 0;
};

void FillRates(ClassificationScores& scores) {
  for (ClassCounts& one : scores.classes) {
    one.precision = Ratio(one.true_positive, one.true_positive + one.false_positive);
    one.recall = Ratio(one.true_positive, one.true_positive + one.false_negative);
    one.f1 = Ratio(2 * one.true_positive,
                   2 * one.true_positive + one.false_positive + one.false_negative);
    scores.macro_precision += one.precision;
    scores.macro_recall += one.recall;
    scores.macro_f1 += one.f1;
  }
  const auto count = static_cast<double>(std::max<size_t>(1, scores.classes.size()));
  scores.macro_precision /= count;
  scores.macro_recall /= count;
  scores.macro_f1 /= count;
}

}  // namespace

void ClassificationWindow::Add(MonotonicNanos now, const ClassSample& sample) {
  if (added_ < kAccuracyBlock) first_correct_ += sample.truth == sample.predicted ? 1 : 0;
  ++added_;
  window_.Add(now, sample);
}

ClassificationScores ClassificationWindow::Scores(MonotonicNanos now) {
  window_.Forget(now);
  ClassificationScores scores;
  std::map<int32_t, ClassCounts> counts;
  Calibration calibration;
  int64_t correct = 0;
  for (const auto& [at_ns, sample] : window_.samples()) {
    if (sample.truth == sample.predicted) {
      ++correct;
      ++counts[sample.truth].true_positive;
    } else {
      ++counts[sample.truth].false_negative;
      ++counts[sample.predicted].false_positive;
    }
    calibration.Add(sample);
  }
  scores.labels = static_cast<int64_t>(window_.samples().size());
  scores.accuracy = Ratio(correct, scores.labels);
  scores.calibration_error = calibration.Error();
  if (added_ >= kAccuracyBlock) scores.first_accuracy = Ratio(first_correct_, kAccuracyBlock);
  if (added_ >= 2 * kAccuracyBlock && scores.labels >= kAccuracyBlock) {
    int64_t recent = 0;
    const auto& samples = window_.samples();
    for (size_t i = samples.size() - kAccuracyBlock; i < samples.size(); ++i) {
      recent += samples[i].sample.truth == samples[i].sample.predicted ? 1 : 0;
    }
    scores.recent_accuracy = Ratio(recent, kAccuracyBlock);
  }
  for (auto& [index, one] : counts) {
    one.index = index;
    scores.classes.push_back(one);
  }
  FillRates(scores);
  const int64_t largest = counts.empty() ? 0 : int64_t{counts.rbegin()->first} + 1;
  const int64_t size = std::max(classes_, largest);
  if (size > kMaxConfusionClasses) return scores;
  scores.confusion_classes = size;
  scores.confusion.assign(static_cast<size_t>(size * size), 0);
  for (const auto& [at_ns, sample] : window_.samples()) {
    ++scores.confusion[static_cast<size_t>(sample.truth * size + sample.predicted)];
  }
  return scores;
}

ValueScores ValueWindow::Scores(MonotonicNanos now) {
  window_.Forget(now);
  ValueScores scores;
  scores.labels = static_cast<int64_t>(window_.samples().size());
  if (scores.labels == 0) return scores;
  for (const auto& [at_ns, sample] : window_.samples()) {
    const double error = sample.predicted - sample.truth;
    scores.mean_absolute_error += std::abs(error);
    scores.root_mean_square_error += error * error;
  }
  const auto count = static_cast<double>(scores.labels);
  scores.mean_absolute_error /= count;
  scores.root_mean_square_error = std::sqrt(scores.root_mean_square_error / count);
  return scores;
}

}  // namespace bitmill
