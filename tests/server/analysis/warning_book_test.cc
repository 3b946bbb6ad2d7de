#include "server/analysis/warning_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A model at `now` and `ahead` of its capacity of 1,000 rows/s.
ModelReport Model(double now, double ahead) {
  ModelReport model;
  model.facts.name = "digits";
  model.facts.version = 3;
  model.controls.max_rows = 32;
  model.objective.p99_ms = 50;
  model.mean_batch_rows = 8;
  model.line = {.a_ms = 1, .b_ms = 0.9, .samples = 1000, .split_known = true};
  model.latency.p99_ms = 10;
  model.forecast = {.demand_rows_per_s = now * 1000,
                    .demand_trend_rows_per_s2 = 5.2,
                    .demand_ahead_rows_per_s = ahead * 1000,
                    .demand_ahead_low = ahead * 900,
                    .demand_ahead_high = ahead * 1100,
                    .capacity_rows_per_s = 1000,
                    .seconds_to_saturation = 33,
                    .seconds_to_saturation_low = 24,
                    .seconds_to_saturation_high = 60,
                    .predicted_p99_ms = 12};
  return model;
}

AnalysisReport Report(int64_t unix_millis, std::vector<ModelReport> models) {
  AnalysisReport report;
  report.unix_millis = unix_millis;
  report.models = std::move(models);
  return report;
}

// Ticks of a second with one model.
class WarningBookTest : public ::testing::Test {
 protected:
  WarningChanges Tick(const ModelReport& model, const HostWindow& host = {}) {
    AnalysisReport report = Report(unix_millis_ += 1000, {model});
    report.host = host;
    return book_.Update(report);
  }
  WarningChanges TickWithout() { return book_.Update(Report(unix_millis_ += 1000, {})); }
  std::vector<WarningReason> Reasons() const {
    std::vector<WarningReason> reasons;
    for (const Warning& warning : book_.Holding()) reasons.push_back(warning.reason);
    return reasons;
  }

  WarningBook book_;
  int64_t unix_millis_ = 1'000'000;
};

TEST_F(WarningBookTest, AForecastIsToldWhenItIsBadForThreeTicksInARow) {
  EXPECT_THAT(Tick(Model(0.8, 0.97)).raised, IsEmpty());
  EXPECT_THAT(Tick(Model(0.8, 0.97)).raised, IsEmpty());
  EXPECT_THAT(Tick(Model(0.8, 0.94)).raised, IsEmpty());
  EXPECT_THAT(Tick(Model(0.8, 0.97)).raised, IsEmpty());
  EXPECT_THAT(Tick(Model(0.8, 0.97)).raised, IsEmpty());
  const WarningChanges changes = Tick(Model(0.8, 0.97));
  ASSERT_THAT(changes.raised, SizeIs(1));
  EXPECT_EQ(changes.raised[0].reason, WarningReason::kSaturationAhead);
  EXPECT_EQ(changes.raised[0].model, "digits");
  EXPECT_EQ(changes.raised[0].version, 3);
  EXPECT_EQ(changes.raised[0].raised_unix_ms, unix_millis_);
  EXPECT_THAT(Tick(Model(0.8, 0.97)).raised, IsEmpty());  // told once
}

TEST_F(WarningBookTest, AWarningIsClearedOnlyWhenItIsClearlyGone) {
  for (int i = 0; i < 3; ++i) Tick(Model(0.8, 0.97));
  for (int i = 0; i < 20; ++i) EXPECT_THAT(Tick(Model(0.8, 0.92)).cleared, IsEmpty());
  Tick(Model(0.7, 0.85));
  Tick(Model(0.7, 0.85));
  const WarningChanges changes = Tick(Model(0.7, 0.85));
  ASSERT_THAT(changes.cleared, SizeIs(1));
  EXPECT_EQ(changes.cleared[0].cleared_unix_ms, unix_millis_);
  EXPECT_THAT(book_.Holding(), IsEmpty());
  EXPECT_THAT(book_.Recent(unix_millis_ + 5000, 10), SizeIs(1));
  EXPECT_THAT(book_.Recent(unix_millis_ + 15000, 10), IsEmpty());
}

TEST_F(WarningBookTest, TheMessageHasTheNumbersAndWhatToDo) {
  for (int i = 0; i < 3; ++i) Tick(Model(0.812, 0.968));
  const std::string message = book_.Holding()[0].message;
  EXPECT_EQ(message,
            "812 rows/s arrive, +5.2 more each second: 968 rows/s in 30 s (90 %: 871 to 1065), "
            "against the capacity of 1000 rows/s within p99 50 ms; full in about 33 s (90 %: 24 s "
            "to 60 s); add a replica, or raise max_batch_size (32) or the instances (1) where CPUs "
            "are idle");
  Tick(Model(0.9, 1.1));
  EXPECT_THAT(book_.Holding()[0].message, HasSubstr("900 rows/s arrive"));
}

TEST_F(WarningBookTest, WhatIsOverloadedAlreadyIsToldAtOnce) {
  const WarningChanges changes = Tick(Model(1.2, 1.2));
  ASSERT_THAT(changes.raised, SizeIs(1));
  EXPECT_EQ(changes.raised[0].reason, WarningReason::kOverloaded);
  EXPECT_THAT(changes.raised[0].message, HasSubstr("120 % of the capacity"));
}

TEST_F(WarningBookTest, ACapacityThatIsNotKnownYetIsNoReason) {
  ModelReport model = Model(1.2, 1.2);
  model.line.samples = 5;
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Tick(model).raised, IsEmpty());
  model = Model(1.2, 1.2);
  model.forecast.capacity_rows_per_s = 0;
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Tick(model).raised, IsEmpty());
}

TEST_F(WarningBookTest, AnObjectiveIsAtRiskByPredictionOrByMeasurement) {
  ModelReport model = Model(0.5, 0.5);
  model.forecast.predicted_p99_ms = 60;
  for (int i = 0; i < 3; ++i) Tick(model);
  EXPECT_EQ(Reasons(), std::vector{WarningReason::kObjectiveAtRisk});
  for (int i = 0; i < 5; ++i) Tick(Model(0.5, 0.5));
  EXPECT_THAT(Reasons(), IsEmpty());
  model = Model(0.5, 0.5);
  model.latency.p99_ms = 70;
  for (int i = 0; i < 3; ++i) Tick(model);
  EXPECT_EQ(Reasons(), std::vector{WarningReason::kObjectiveAtRisk});
  model.objective.p99_ms = 0;
  for (int i = 0; i < 5; ++i) Tick(model);
  EXPECT_THAT(Reasons(), IsEmpty());
}

TEST_F(WarningBookTest, TheSameRowsThatTakeLongerAreLostCapacity) {
  ModelReport model = Model(0.5, 0.5);
  for (int i = 0; i < 60; ++i) Tick(model);
  model.line.a_ms = 2;
  model.line.b_ms = 1.8;
  for (int i = 0; i < 3; ++i) Tick(model);
  ASSERT_EQ(Reasons(), std::vector{WarningReason::kCapacityLost});
  EXPECT_THAT(book_.Holding()[0].message,
              HasSubstr("an execution of 8 rows takes 16.4 ms, 99 % more than before (8.23 ms)"));
  // Larger batches take longer too, which is no loss.
  WarningBook other;
  model = Model(0.5, 0.5);
  for (int i = 0; i < 60; ++i) {
    model.mean_batch_rows = i < 30 ? 2 : 30;
    EXPECT_THAT(other.Update(Report(i * 1000, {model})).raised, IsEmpty());
  }
}

TEST_F(WarningBookTest, ALineThatIsLearnedFromMoreSizesIsNoLoss) {
  ModelReport model = Model(0.1, 0.1);
  model.mean_batch_rows = 1;
  model.line = {.a_ms = 0.95, .b_ms = 0.95, .samples = 100};  // a = b is an assumption
  for (int i = 0; i < 30; ++i) Tick(model);
  model.mean_batch_rows = 16;
  model.line = {.a_ms = 0, .b_ms = 1.9, .samples = 1000, .split_known = true};
  for (int i = 0; i < 30; ++i) EXPECT_THAT(Tick(model).raised, IsEmpty());
}

TEST_F(WarningBookTest, WhatIsSlowerForLongIsWhatIsUsual) {
  ModelReport model = Model(0.3, 0.3);
  for (int i = 0; i < 60; ++i) Tick(model);
  model.line = {.a_ms = 1.5, .b_ms = 1.35, .samples = 9000, .split_known = true};
  for (int i = 0; i < 60; ++i) Tick(model);
  EXPECT_EQ(Reasons(), std::vector{WarningReason::kCapacityLost});
  for (int i = 0; i < 1200; ++i) Tick(model);
  EXPECT_THAT(Reasons(), IsEmpty());
}

TEST_F(WarningBookTest, ADriftSaysWhatMoved) {
  ModelReport model = Model(0.5, 0.5);
  model.forecast.b_drifted = true;
  Tick(model);
  ASSERT_EQ(Reasons(), std::vector{WarningReason::kServiceDrift});
  EXPECT_THAT(book_.Holding()[0].message, HasSubstr("the time of a row moved"));
  Tick(Model(0.5, 0.5));
  EXPECT_THAT(Reasons(), IsEmpty());
}

TEST_F(WarningBookTest, TheHostHasWarningsOfItsOwn) {
  const HostWindow host{.throttled_share = 0.3,
                        .memory_limit_bytes = 100 << 20,
                        .memory_used_bytes = 97 << 20,
                        .open_fds = 950,
                        .max_fds = 1000};
  Tick(Model(0.5, 0.5), host);
  Tick(Model(0.5, 0.5), host);
  EXPECT_EQ(Reasons(), (std::vector{WarningReason::kCpuThrottled, WarningReason::kMemoryPressure,
                                    WarningReason::kDescriptorsLow}));
  EXPECT_EQ(book_.Holding()[0].model, "");
  EXPECT_THAT(book_.Holding()[1].message, HasSubstr("97 MiB used of a limit of 100 MiB"));
}

TEST_F(WarningBookTest, OthersThatWaitForMemoryAreNoneOfOurConcern) {
  HostWindow host{.psi_memory_some = 0.5, .psi_group_memory_some = 0};
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Tick(Model(0.5, 0.5), host).raised, IsEmpty());
  host.psi_group_memory_some = 0.4;
  for (int i = 0; i < 10; ++i) Tick(Model(0.5, 0.5), host);
  ASSERT_EQ(Reasons(), std::vector{WarningReason::kMemoryPressure});
  EXPECT_THAT(book_.Holding()[0].message,
              HasSubstr("40 % of the time something of our control group waits for memory"));
}

TEST_F(WarningBookTest, WhatCannotBeReadIsNoWarning) {
  for (int i = 0; i < 10; ++i) EXPECT_THAT(Tick(Model(0.5, 0.5), {}).raised, IsEmpty());
}

TEST_F(WarningBookTest, QualityIsSaidFromOutsideUntilItIsTakenBack) {
  book_.Set(WarningReason::kAccuracyDrop, "digits", 3, true, "accuracy 0.81, was 0.97");
  const WarningChanges changes = Tick(Model(0.5, 0.5));
  ASSERT_THAT(changes.raised, SizeIs(1));
  EXPECT_EQ(changes.raised[0].message, "accuracy 0.81, was 0.97");
  Tick(Model(0.5, 0.5));
  EXPECT_EQ(Reasons(), std::vector{WarningReason::kAccuracyDrop});
  book_.Set(WarningReason::kAccuracyDrop, "digits", 3, false, "");
  EXPECT_THAT(Tick(Model(0.5, 0.5)).cleared, SizeIs(1));
}

TEST_F(WarningBookTest, WarningsOfAVersionThatIsGoneAreCleared) {
  book_.Set(WarningReason::kInputDrift, "digits", 3, true, "drifted");
  Tick(Model(1.2, 1.2));
  EXPECT_THAT(book_.Holding(), SizeIs(2));
  EXPECT_THAT(TickWithout().cleared, SizeIs(2));
  Tick(Model(0.5, 0.5));  // loaded again: nothing is remembered
  EXPECT_THAT(book_.Holding(), IsEmpty());
}

TEST_F(WarningBookTest, IdsGrowAndTheHistoryIsBounded) {
  WarningBook book({.history = 10});
  int64_t last = 0;
  for (int i = 0; i < 50; ++i) {
    book.Set(WarningReason::kInputDrift, "", 0, i % 2 == 0, "x");
    for (const Warning& warning : book.Update(Report(i, {})).raised) {
      EXPECT_GT(warning.id, last);
      last = warning.id;
    }
  }
  EXPECT_EQ(last, 25);
  EXPECT_THAT(book.Recent(50, 1000), SizeIs(10));
}

}  // namespace
}  // namespace bitmill
