#include "server/analysis/quality/classification_window.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/analysis/quality/expected.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kSecond = 1'000'000'000;

TEST(ClassificationWindowTest, SaysNothingWithoutLabels) {
  ClassificationWindow window({}, 3);
  const ClassificationScores scores = window.Scores(0);
  EXPECT_EQ(scores.labels, 0);
  EXPECT_EQ(scores.calibration_error, -1);
  EXPECT_THAT(scores.confusion, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0));
}

// Truth 0 0 0 1 1 2, predicted 0 0 1 1 0 1:
//   class 0: TP 2, FP 1, FN 1: precision 2/3, recall 2/3, F1 2/3
//   class 1: TP 1, FP 2, FN 1: precision 1/3, recall 1/2, F1 2/5
//   class 2: TP 0, FP 0, FN 1: 0, 0, 0
TEST(ClassificationWindowTest, CountsByHand) {
  ClassificationWindow window({}, 4);
  const int32_t truth[] = {0, 0, 0, 1, 1, 2}, predicted[] = {0, 0, 1, 1, 0, 1};
  for (int i = 0; i < 6; ++i) window.Add(i, {truth[i], predicted[i], -1});
  const ClassificationScores scores = window.Scores(6);
  EXPECT_EQ(scores.labels, 6);
  EXPECT_DOUBLE_EQ(scores.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(scores.macro_precision, (2.0 / 3 + 1.0 / 3 + 0) / 3);
  EXPECT_DOUBLE_EQ(scores.macro_recall, (2.0 / 3 + 1.0 / 2 + 0) / 3);
  EXPECT_DOUBLE_EQ(scores.macro_f1, (2.0 / 3 + 2.0 / 5 + 0) / 3);
  EXPECT_EQ(scores.calibration_error, -1);
  ASSERT_EQ(scores.classes.size(), 3U);  // class 3 never occurred
  EXPECT_EQ(scores.classes[1].false_positive, 2);
  EXPECT_EQ(scores.classes[2].false_negative, 1);
  EXPECT_THAT(scores.confusion, ElementsAre(2, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0));
}

// Scores 0.95 (right), 0.95 (wrong), 0.15 (right): bin 10 has 1 of 2 right and mean score 0.95, bin
// 2 has 1 of 1 right and mean score 0.15: 2/3 |0.5 - 0.95| + 1/3 |1 - 0.15| = 0.58333
TEST(ClassificationWindowTest, CalibrationByHand) {
  ClassificationWindow window({}, 2);
  window.Add(0, {1, 1, 0.95F});
  window.Add(0, {0, 1, 0.95F});
  window.Add(0, {1, 1, 0.15F});
  window.Add(0, {1, 1, -1});  // without a score: left out
  EXPECT_NEAR(window.Scores(0).calibration_error, 0.583333, 1e-6);
}

TEST(ClassificationWindowTest, CalibrationCountsZeroInTheFirstBinAndAnEdgeInTheLowerOne) {
  ClassificationWindow window({}, 2);
  window.Add(0, {1, 1, 0.0F});
  window.Add(0, {1, 1, 0.25F});  // (0.2, 0.3]
  window.Add(0, {0, 1, 0.5F});   // (0.4, 0.5]
  window.Add(0, {1, 1, 0.53F});  // (0.5, 0.6]
  EXPECT_NEAR(window.Scores(0).calibration_error, (1.0 + 0.75 + 0.5 + 0.47) / 4, 1e-7);
}

TEST(ClassificationWindowTest, AgreesWithScikitLearn) {
  const auto truth = ExpectedValues<int32_t>("truth");
  const auto predicted = ExpectedValues<int32_t>("predicted");
  const auto score = ExpectedValues<float>("score");
  ASSERT_EQ(truth.size(), 600U);
  ClassificationWindow window({}, 7);
  for (size_t i = 0; i < truth.size(); ++i) window.Add(0, {truth[i], predicted[i], score[i]});
  const ClassificationScores scores = window.Scores(0);
  const auto macro = ExpectedValues<double>("macro");
  EXPECT_NEAR(scores.accuracy, macro[0], 1e-12);
  EXPECT_NEAR(scores.macro_precision, macro[1], 1e-12);
  EXPECT_NEAR(scores.macro_recall, macro[2], 1e-12);
  EXPECT_NEAR(scores.macro_f1, macro[3], 1e-12);
  EXPECT_NEAR(scores.calibration_error, macro[4], 1e-12);
  const auto confusion = ExpectedValues<int64_t>("confusion");
  EXPECT_THAT(scores.confusion, ::testing::ElementsAreArray(confusion));
}

TEST(ClassificationWindowTest, ForgetsByCountAndByAge) {
  ClassificationWindow window({.max_samples = 2, .max_age_ns = 10 * kSecond}, 2);
  window.Add(0, {0, 1, -1});
  window.Add(1 * kSecond, {0, 0, -1});
  window.Add(2 * kSecond, {0, 0, -1});
  EXPECT_EQ(window.Scores(2 * kSecond).labels, 2);
  EXPECT_EQ(window.Scores(2 * kSecond).accuracy, 1);
  EXPECT_EQ(window.Scores(11 * kSecond).labels, 2);
  EXPECT_EQ(window.Scores(11 * kSecond + 1).labels, 1);
  EXPECT_EQ(window.Scores(13 * kSecond).labels, 0);
}

TEST(ClassificationWindowTest, LeavesOutTheConfusionOfManyClasses) {
  ClassificationWindow few({}, 100), many({}, 101), unknown({}, 0);
  few.Add(0, {99, 99, -1});
  many.Add(0, {0, 0, -1});
  unknown.Add(0, {2, 0, -1});
  EXPECT_EQ(few.Scores(0).confusion.size(), 10'000U);
  EXPECT_TRUE(many.Scores(0).confusion.empty());
  EXPECT_EQ(unknown.Scores(0).confusion.size(), 9U);
}

TEST(ClassificationWindowTest, ComparesTheFirstLabelsWithTheLast) {
  ClassificationWindow window({}, 2);
  for (int i = 0; i < 999; ++i) window.Add(0, {i < 500 && i % 10 == 0 ? 1 : 0, 0, -1});
  EXPECT_DOUBLE_EQ(window.Scores(0).first_accuracy, 0.9);
  EXPECT_EQ(window.Scores(0).recent_accuracy, -1);
  window.Add(0, {1, 0, -1});
  EXPECT_DOUBLE_EQ(window.Scores(0).recent_accuracy, 499.0 / 500);
}

TEST(ValueWindowTest, ErrorsByHand) {
  ValueWindow window({});
  window.Add(0, {1, 2});
  window.Add(0, {5, 2});
  const ValueScores scores = window.Scores(0);
  EXPECT_EQ(scores.labels, 2);
  EXPECT_DOUBLE_EQ(scores.mean_absolute_error, 2);
  EXPECT_DOUBLE_EQ(scores.root_mean_square_error, std::sqrt(5.0));
}

TEST(ValueWindowTest, AgreesWithScikitLearn) {
  const auto truth = ExpectedValues<double>("value_truth");
  const auto predicted = ExpectedValues<double>("value_predicted");
  ValueWindow window({});
  for (size_t i = 0; i < truth.size(); ++i) window.Add(0, {truth[i], predicted[i]});
  const auto errors = ExpectedValues<double>("value_errors");
  EXPECT_NEAR(window.Scores(0).mean_absolute_error, errors[0], 1e-12);
  EXPECT_NEAR(window.Scores(0).root_mean_square_error, errors[1], 1e-12);
}

}  // namespace
}  // namespace bitmill
