// Streams of answers through the whole of it, as the server would send them.
#include "server/analysis/quality/quality_watch.h"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/npz.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSide = 12;
constexpr int64_t kPixels = kSide * kSide;
constexpr int64_t kClasses = 4;

// Small pictures of a bright bar, dark elsewhere; where the bar is tells the class.
class Pictures {
 public:
  explicit Pictures(unsigned seed) : random_(seed) {}

  std::vector<float> Next(int64_t kind, bool inverted) {
    std::uniform_real_distribution<float> noise(0, 0.2F);
    std::vector<float> pixels(kPixels);
    for (int64_t i = 0; i < kPixels; ++i) {
      const bool bar = i / kSide / (kSide / kClasses) == kind;
      const float value = (bar ? 0.8F : 0.0F) + noise(random_);
      pixels[static_cast<size_t>(i)] = inverted ? 1 - value : value;
    }
    return pixels;
  }
  int64_t NextKind() { return std::uniform_int_distribution<int64_t>(0, kClasses - 1)(random_); }

 private:
  std::mt19937 random_;
};

// The brightest quarter, by its mean.
std::vector<float> Classify(const std::vector<float>& pixels) {
  std::vector<float> scores(kClasses, 0);
  for (int64_t i = 0; i < kPixels; ++i) {
    scores[static_cast<size_t>(i / (kPixels / kClasses))] +=
        pixels[static_cast<size_t>(i)] * 10 / (kPixels / kClasses);
  }
  return scores;
}

const std::byte* AsBytes(const std::vector<float>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

class QualityWatchTest : public ::testing::Test {
 protected:
  static TappedModel Model(int64_t version = 1) {
    TappedModel model;
    model.name = "bars";
    model.version = version;
    model.inputs = {{"pixels", DType::kFloat32, {1, kSide, kSide}, kPixels * 4}};
    model.outputs = {{"scores", DType::kFloat32, {kClasses}, kClasses * 4}};
    model.settings.on = true;
    return model;
  }
  std::shared_ptr<AnswerTap> Watch(const TappedModel& model) {
    auto tap = watch_.Watch(model);
    EXPECT_TRUE(tap.ok()) << tap.status();
    return tap.ok() ? *tap : nullptr;
  }
  void Answer1(AnswerTap& tap, const std::string& id, const std::vector<float>& pixels,
               std::vector<float> scores) {
    clock_.Advance(5'000'000);
    const std::byte* input = AsBytes(pixels);
    auto* output = reinterpret_cast<std::byte*>(scores.data());
    tap.OnAnswer({.request_id = id,
                  .rows = 1,
                  .inputs = {&input, 1},
                  .outputs = {&output, 1},
                  .answered_ns = clock_.Now(),
                  .serve_ns = 1'000'000});
  }
  void Stream(AnswerTap& tap, int count, bool inverted) {
    for (int i = 0; i < count; ++i) {
      const std::vector<float> pixels = pictures_.Next(pictures_.NextKind(), inverted);
      Answer1(tap, "", pixels, Classify(pixels));
    }
  }
  QualityReport Report(int64_t version = 1) {
    auto report = watch_.Report("bars", version);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : QualityReport{};
  }
  QualityWatch::FeedbackResult Feedback(int64_t version, const std::vector<QualityLabel>& labels) {
    const auto result = watch_.Feedback("bars", version, labels);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : QualityWatch::FeedbackResult{};
  }
  static QualityLabel ById(absl::string_view id, int64_t truth, int64_t row = 0) {
    return {.by_input = false, .key = id, .row = row, .is_class = true, .class_index = truth};
  }

  FakeClock clock_;
  Pictures pictures_{42};
  QualityWatch watch_{clock_};
};

TEST_F(QualityWatchTest, InvertedPicturesAreDriftAndTheOthersAreNot) {
  const auto tap = Watch(Model());
  Stream(*tap, 2000, false);
  EXPECT_EQ(Report().input_psi, -1);  // the reference
  for (int i = 0; i < 4; ++i) {
    Stream(*tap, 1500, false);
    const QualityReport same = Report();
    EXPECT_GE(same.input_psi, 0);
    EXPECT_LT(same.input_psi, kPsiSomeChange);
    EXPECT_LT(same.prediction_psi, kPsiSomeChange);
    EXPECT_LT(same.out_of_range_share, 0.01);
    EXPECT_TRUE(same.alerts.empty());
  }
  // Three fifths of the window.
  Stream(*tap, 3000, true);
  const QualityReport some = Report();
  EXPECT_GT(some.input_psi, kPsiOtherDistribution);
  EXPECT_THAT(some.worst_feature, HasSubstr("pixels["));
  Stream(*tap, 5000, true);
  const QualityReport all = Report();
  EXPECT_GT(all.input_psi, 1);
  EXPECT_GT(all.input_ks, 0.5);
  ASSERT_FALSE(all.alerts.empty());
  EXPECT_EQ(all.alerts[0].alert, QualityAlert::kInputDrift);
}

TEST_F(QualityWatchTest, PredictionsThatChangeAreDrift) {
  const auto tap = Watch(Model());
  Stream(*tap, 3500, false);
  EXPECT_LT(Report().prediction_psi, kPsiSomeChange);
  for (int i = 0; i < 5000; ++i) {
    const std::vector<float> pixels = pictures_.Next(i % 10 == 0 ? 1 : 2, false);
    Answer1(*tap, "", pixels, Classify(pixels));
  }
  EXPECT_GT(Report().prediction_psi, kPsiOtherDistribution);
}

TEST_F(QualityWatchTest, CountsInvalidInputs) {
  const auto tap = Watch(Model());
  Stream(*tap, 2000, false);
  for (int i = 0; i < 100; ++i) {
    Answer1(*tap, "", std::vector<float>(kPixels, i % 2 == 0 ? NAN : 1e6F), {1, 0, 0, 0});
  }
  const QualityReport report = Report();
  EXPECT_DOUBLE_EQ(report.not_a_number_share, 0.5);
  EXPECT_DOUBLE_EQ(report.out_of_range_share, 0.5);
  EXPECT_EQ(report.not_a_number_total, 50 * 64);
  ASSERT_EQ(report.alerts.size(), 1U);
  EXPECT_EQ(report.alerts[0].alert, QualityAlert::kInvalidInputs);
}

TEST_F(QualityWatchTest, SamplesAtMostTwoHundredRowsASecond) {
  const auto tap = Watch(Model());
  const std::vector<float> pixels = pictures_.Next(0, false);
  for (int i = 0; i < 100; ++i) {
    Answer1(*tap, "", pixels, {1, 0, 0, 0});
    clock_.Advance(-4'000'000);  // an answer each millisecond
  }
  const int64_t rows = Report().values_total / 64;
  EXPECT_GE(rows, 19);
  EXPECT_LE(rows, 21);
}

TEST_F(QualityWatchTest, LabelsFindTheirAnswers) {
  const auto tap = Watch(Model());
  const std::vector<float> one = pictures_.Next(1, false), two = pictures_.Next(2, false);
  const std::vector<float> three = pictures_.Next(2, false);
  Answer1(*tap, "r1", one, Classify(one));
  Answer1(*tap, "r2", two, Classify(two));
  Answer1(*tap, "r5", three, Classify(three));
  const auto bytes = [](const std::vector<float>& pixels) {
    return absl::string_view(reinterpret_cast<const char*>(pixels.data()), kPixels * 4);
  };
  const auto result = Feedback(1, {ById("r1", 1),
                                   ById("r1", 1),
                                   ById("r3", 1),
                                   ById("r2", 3),
                                   ById("r2", kClasses),
                                   ById("r2", -1),
                                   ById("", 1),
                                   ById("r2", 1, -1),
                                   {.by_input = true, .key = bytes(two), .class_index = 2},
                                   {.by_input = true, .key = bytes(three), .class_index = 2},
                                   ById("r5", 2),
                                   {.by_input = true, .key = bytes(two).substr(4)},
                                   {.key = "r2", .is_class = false, .value = 1.0}});
  EXPECT_EQ(result.matched, 3);    // r1, r2 and r5, by its input
  EXPECT_EQ(result.unmatched, 4);  // r3; r1, r2 and r5 again
  EXPECT_EQ(result.invalid, 6);
  const QualityReport report = Report();
  EXPECT_EQ(report.labels, 3);
  EXPECT_DOUBLE_EQ(report.accuracy, 2.0 / 3);
  ASSERT_EQ(report.confusion.size(), 16U);
  EXPECT_EQ(report.confusion[1 * kClasses + 1], 1);
  EXPECT_EQ(report.confusion[3 * kClasses + 2], 1);
  EXPECT_EQ(report.confusion[2 * kClasses + 2], 1);
  EXPECT_THAT(report.classes, ::testing::ElementsAre("0", "1", "2", "3"));
  EXPECT_GT(report.calibration_error, 0);
}

TEST_F(QualityWatchTest, OfManyClassesAFourthOfTheRowsIsEnoughForCalibration) {
  TappedModel model = Model();
  constexpr int64_t kMany = 1000;
  model.outputs = {{"scores", DType::kFloat32, {kMany}, kMany * 4}};
  const auto tap = Watch(model);
  const std::vector<float> pixels(kPixels);
  // Every answer says class 7 with a probability of 0.8, every other one is right.
  std::vector<float> scores(kMany, 0.2F / (kMany - 1));
  scores[7] = 0.8F;
  constexpr int kRows = 400;
  for (int i = 0; i < kRows; ++i) {
    Answer1(*tap, std::to_string(i), pixels, scores);
    EXPECT_EQ(Feedback(1, {ById(std::to_string(i), i % 2 == 0 ? 7 : 8)}).matched, 1);
  }
  const QualityReport report = Report();
  EXPECT_EQ(report.labels, kRows);
  EXPECT_DOUBLE_EQ(report.accuracy, 0.5);  // of all rows
  EXPECT_NEAR(report.calibration_error, 0.3, 0.05);
}

TEST_F(QualityWatchTest, LabelsOfABatchGoByRow) {
  const auto tap = Watch(Model());
  std::vector<float> pixels(3 * kPixels), scores(3 * kClasses, 0);
  for (size_t row = 0; row < 3; ++row) scores[row * kClasses + row] = 1;
  const std::byte* input = AsBytes(pixels);
  auto* output = reinterpret_cast<std::byte*>(scores.data());
  tap->OnAnswer({.request_id = "b",
                 .rows = 3,
                 .inputs = {&input, 1},
                 .outputs = {&output, 1},
                 .answered_ns = clock_.Now()});
  EXPECT_EQ(Feedback(1, {ById("b", 0, 0), ById("b", 1, 1), ById("b", 2, 2)}).matched, 3);
  EXPECT_EQ(Report().accuracy, 1);
  EXPECT_EQ(Feedback(1, {ById("b", 0, 3)}).unmatched, 1);
}

TEST_F(QualityWatchTest, AValueModelReportsErrors) {
  TappedModel model = Model();
  model.outputs = {{"y", DType::kFloat32, {1}, 4}};
  const auto tap = Watch(model);
  const std::vector<float> pixels(kPixels);
  Answer1(*tap, "a", pixels, {2});
  Answer1(*tap, "b", pixels, {5});
  const auto result = Feedback(0, {{.key = "a", .is_class = false, .value = 1},
                                   {.key = "b", .is_class = false, .value = 5},
                                   {.key = "b", .is_class = false, .value = NAN},
                                   ById("a", 1)});
  EXPECT_EQ(result.matched, 2);
  EXPECT_EQ(result.invalid, 2);
  EXPECT_DOUBLE_EQ(Report().mean_absolute_error, 0.5);
  EXPECT_EQ(Report().accuracy, -1);
}

TEST_F(QualityWatchTest, ADropOfAccuracyIsAnAlert) {
  const auto tap = Watch(Model());
  for (int i = 0; i < 1000; ++i) {
    const std::string id = std::to_string(i);
    Answer1(*tap, id, pictures_.Next(0, false), {1, 0, 0, 0});
    const int64_t truth = i % 100 < (i < 500 ? 5 : 15) ? 1 : 0;
    EXPECT_EQ(Feedback(1, {ById(id, truth)}).matched, 1);
  }
  const QualityReport report = Report();
  EXPECT_DOUBLE_EQ(report.first_accuracy, 0.95);
  EXPECT_DOUBLE_EQ(report.recent_accuracy, 0.85);
  ASSERT_EQ(report.alerts.size(), 1U);
  EXPECT_EQ(report.alerts[0].alert, QualityAlert::kAccuracyDrop);
}

TEST_F(QualityWatchTest, UnknownModelsAreNotFound) {
  EXPECT_TRUE(absl::IsNotFound(watch_.Report("bars", 0).status()));
  EXPECT_TRUE(absl::IsNotFound(watch_.Feedback("bars", 0, {}).status()));
  auto tap = Watch(Model());
  EXPECT_TRUE(absl::IsNotFound(watch_.Report("bars", 2).status()));
  EXPECT_TRUE(absl::IsNotFound(watch_.Report("bar", 0).status()));
  tap.reset();  // unloaded
  EXPECT_TRUE(absl::IsNotFound(watch_.Report("bars", 1).status()));
  EXPECT_TRUE(watch_.Reports().empty());
}

TEST_F(QualityWatchTest, VersionZeroReachesAllVersions) {
  const auto first = Watch(Model(1)), second = Watch(Model(2));
  const std::vector<float> pixels(kPixels);
  Answer1(*first, "a", pixels, {1, 0, 0, 0});
  Answer1(*second, "b", pixels, {1, 0, 0, 0});
  const auto result = Feedback(0, {ById("a", 0), ById("b", 1), ById("c", 0)});
  EXPECT_EQ(result.matched, 2);
  EXPECT_EQ(result.unmatched, 1);
  EXPECT_EQ(Report(1).accuracy, 1);
  EXPECT_EQ(Report(0).version, 2);
  EXPECT_EQ(Report(2).accuracy, 0);
}

// A shadow that answers like the live version, but for every tenth request.
class AlmostEqual final : public ShadowServer {
 public:
  int64_t ShadowOf(const std::string&, int64_t version) const override {
    return version == 1 ? 2 : 0;
  }
  ShadowOutcome Run(const ShadowRequest& request) override {
    ShadowOutcome outcome;
    outcome.version = 2;
    outcome.outputs = request.outputs;
    outcome.serve_ns = request.serve_ns;
    if (++runs % every == 0) {
      const float other[kClasses] = {9, 9, 9, 9.5F};
      std::memcpy(outcome.outputs[0].data(), other, sizeof(other));
    }
    return outcome;
  }
  int runs = 0, every = 10;
};

TEST_F(QualityWatchTest, AShadowIsComparedAndPromotedWhenItsGuardsHold) {
  TappedModel model = Model();
  model.settings.shadow = true;
  model.settings.shadow_share = 0.25;
  AlmostEqual server;
  const auto tap = Watch(model);
  const auto ask = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const std::vector<float> pixels = pictures_.Next(i % 3, false);
      Answer1(*tap, "", pixels, Classify(pixels));
      watch_.shadows().RunOne();
    }
  };
  ask(10);
  EXPECT_EQ(server.runs, 0);  // not started
  watch_.shadows().StartWithoutThread(server);
  EXPECT_THAT(std::string(watch_.CheckPromotion("bars", 1, 2).message()),
              HasSubstr("promote_min_compared"));
  ask(4000);
  EXPECT_NEAR(server.runs, 1000, 10);
  QualityReport report = Report();
  EXPECT_EQ(report.shadow_version, 2);
  EXPECT_EQ(report.shadow_compared, server.runs);
  EXPECT_NEAR(report.shadow_agreement, 0.9, 0.01);
  EXPECT_LT(report.shadow_agreement_low, 0.9);
  EXPECT_GT(report.shadow_agreement_high, 0.9);
  const absl::Status refused = watch_.CheckPromotion("bars", 1, 2);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("promote_min_agreement"));

  server.every = 100;
  ask(40'000);
  EXPECT_TRUE(watch_.CheckPromotion("bars", 1, 2).ok()) << watch_.CheckPromotion("bars", 1, 2);
  EXPECT_EQ(watch_.CheckPromotion("bars", 1, 3).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::IsNotFound(watch_.CheckPromotion("bars", 5, 2)));
}

TEST_F(QualityWatchTest, AFullQueueDropsAndCounts) {
  TappedModel model = Model();
  model.settings.shadow = true;
  model.settings.shadow_share = 1;
  AlmostEqual server;
  watch_.shadows().StartWithoutThread(server);
  const auto tap = Watch(model);
  const std::vector<float> pixels(kPixels);
  for (int i = 0; i < 100; ++i) Answer1(*tap, "", pixels, {1, 0, 0, 0});
  while (watch_.shadows().RunOne()) {
  }
  EXPECT_EQ(server.runs, 64);
  Answer1(*tap, "", pixels, {1, 0, 0, 0});
  EXPECT_TRUE(watch_.shadows().RunOne());
  EXPECT_EQ(Report().shadow_requests, 65);
  EXPECT_EQ(Report().shadow_dropped, 36);
}

TEST_F(QualityWatchTest, WhatAShadowComputedIsRememberedButRunsNoShadow) {
  TappedModel model = Model(1);
  model.settings.shadow = true;
  model.settings.shadow_share = 1;
  AlmostEqual server;
  watch_.shadows().StartWithoutThread(server);
  const auto tap = Watch(model);
  const std::vector<float> pixels(kPixels);
  std::vector<float> scores = {0, 1, 0, 0};
  const std::byte* input = AsBytes(pixels);
  auto* output = reinterpret_cast<std::byte*>(scores.data());
  tap->OnAnswer({.request_id = "s",
                 .rows = 1,
                 .inputs = {&input, 1},
                 .outputs = {&output, 1},
                 .answered_ns = clock_.Now(),
                 .shadow = true});
  EXPECT_FALSE(watch_.shadows().RunOne());
  EXPECT_EQ(Feedback(1, {ById("s", 1)}).matched, 1);
}

TEST_F(QualityWatchTest, ReadsAReferenceFromAFile) {
  const std::string path = ::testing::TempDir() + "/reference_" + std::to_string(getpid()) + ".npz";
  const auto write = [&](int64_t rows, const std::string& name) {
    NamedTensors arrays;
    arrays.emplace(name, Tensor::Zeros(DType::kFloat32, {rows, 1, kSide, kSide}));
    arrays.emplace("scores", Tensor::Zeros(DType::kFloat32, {rows, kClasses}));
    Pictures pictures(7);
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<float> pixels = pictures.Next(pictures.NextKind(), false);
      const std::vector<float> scores = Classify(pixels);
      std::ranges::copy(pixels, arrays.at(name).span<float>().begin() + row * kPixels);
      std::ranges::copy(scores, arrays.at("scores").span<float>().begin() + row * kClasses);
    }
    ASSERT_TRUE(WriteNpz(path, arrays).ok());
  };
  TappedModel model = Model();
  model.reference_file = path;
  write(1200, "pixels");
  const auto tap = Watch(model);
  Stream(*tap, 1000, false);  // no row is taken for the reference
  EXPECT_LT(Report().input_psi, kPsiSomeChange);
  EXPECT_GE(Report().input_psi, 0);
  EXPECT_GE(Report().prediction_psi, 0);
  EXPECT_LT(Report().prediction_psi, kPsiSomeChange);

  write(499, "pixels");
  EXPECT_THAT(std::string(watch_.Watch(model).status().message()), HasSubstr("499 rows"));
  write(600, "image");
  EXPECT_THAT(std::string(watch_.Watch(model).status().message()), HasSubstr("no array 'pixels'"));
  model.inputs[0].dtype = DType::kInt32;
  write(600, "pixels");
  EXPECT_THAT(std::string(watch_.Watch(model).status().message()), HasSubstr("FP32"));
  std::filesystem::remove(path);
  EXPECT_TRUE(absl::IsNotFound(watch_.Watch(model).status()));
}

// Tells the row's first number as margin, in eighths.
class FirstNumber final : public MarginSource {
 public:
  absl::StatusOr<RowMargin> Measure(absl::Span<const std::byte* const> inputs) const override {
    float first = 0;
    std::memcpy(&first, inputs[0], sizeof(first));
    return RowMargin{8, static_cast<int64_t>(first)};
  }
};

TEST_F(QualityWatchTest, MeasuresTheMarginOfARowInTenSeconds) {
  TappedModel model = Model();
  model.margin = std::make_shared<FirstNumber>();
  AlmostEqual server;
  watch_.shadows().StartWithoutThread(server);
  const auto tap = Watch(model);
  EXPECT_EQ(Report().sign_flip_share, -1);
  int measured = 0;
  for (int i = 0; i < 2001; ++i) {  // 10 s
    Answer1(*tap, "", std::vector<float>(kPixels, i == 0 ? 1.0F : 3.0F), {1, 0, 0, 0});
    measured += watch_.shadows().RunOne() ? 1 : 0;
  }
  EXPECT_EQ(measured, 2);
  EXPECT_EQ(Report().sign_flip_share, 4.0 / 16);
}

TEST_F(QualityWatchTest, PointsHaveOneSeriesAVersion) {
  TappedModel model = Model();
  model.outputs[0] = {"scores", DType::kFloat32, {1000}, 4000};
  const auto tap = Watch(model);
  std::vector<float> scores(1000, 0.0F);
  scores[999] = 1;
  Answer1(*tap, "a", std::vector<float>(kPixels), scores);
  EXPECT_EQ(Feedback(0, {ById("a", 999), ById("b", 1)}).matched, 1);
  const std::vector<MetricPoint> points = watch_.Points();
  EXPECT_LE(points.size(), 30U);
  const auto value = [&](const std::string& name, const std::string& last_label) {
    for (const MetricPoint& point : points) {
      if (point.name == name && point.labels.back().second == last_label) return point.value;
    }
    return -1.0;
  };
  EXPECT_EQ(value("bitmill_quality_accuracy", "1"), 1);
  EXPECT_EQ(value("bitmill_quality_labels", "1"), 1);
  EXPECT_EQ(value("bitmill_feedback_labels_total", "yes"), 1);
  EXPECT_EQ(value("bitmill_feedback_labels_total", "no"), 1);
  EXPECT_EQ(value("bitmill_input_drift_psi", "1"), -1);  // not known: left out
  EXPECT_EQ(value("bitmill_shadow_agreement", "2"), -1);
}

}  // namespace
}  // namespace bitmill
