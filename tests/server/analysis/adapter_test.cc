#include "server/analysis/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMilli = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

class FakeSink final : public ControlSink {
 public:
  absl::Status Apply(absl::string_view model, int64_t, const ModelControls& controls) override {
    if (!refuse.ok()) return refuse;
    applied[std::string(model)].push_back(controls);
    return absl::OkStatus();
  }
  absl::Status refuse;
  std::map<std::string, std::vector<ModelControls>> applied;
};

// A model whose answers in time are what the test says, whatever the settings are.
class AdapterTest : public ::testing::Test {
 protected:
  AdapterTest() {
    model.facts.name = "m";
    model.facts.version = 3;
    model.objective = {.p99_ms = 20, .adapt = AdaptMode::kOn};
    model.controls = model.configured = {.max_rows = 32};
    report.line = {.a_ms = 1, .b_ms = 1, .relative_error = 0.02, .samples = 100};
  }

  // A second passes in which `offered` requests come each second and `good` of them are in time.
  void Tick(int offered, int good) {
    now += kSecond;
    model.begin_ns = now - 5 * kSecond;
    model.end_ns = now;
    model.requests.clear();
    for (int i = 0; i < 5 * offered; ++i) {
      RequestRecord record;
      record.received_ns = model.begin_ns + i * (kSecond / offered);
      record.rows = record.batch_rows = 1;
      record.stages[Stage::kCompute] = 2 * kMilli;
      record.total_ns = (i % offered < good ? 2 : 30) * kMilli;
      record.stages[Stage::kQueue] = record.total_ns - 2 * kMilli;
      // With an admission limit the others are refused, not late.
      if (i % offered >= good && model.controls.admit_within_ns > 0) record.code = 8;
      model.requests.push_back(record);
    }
    report.facts = model.facts;
    Observation observation;
    observation.now_ns = now;
    observation.unix_millis = now / kMilli;
    observation.models = {model};
    AnalysisReport all;
    all.models = {report};
    adapter.Tick(observation, all);
    if (!sink.applied["m"].empty()) model.controls = sink.applied["m"].back();
  }
  size_t Applied() { return sink.applied["m"].size(); }

  FakeSink sink;
  Adapter adapter{sink};
  ModelWindow model;
  ModelReport report;
  MonotonicNanos now = 100 * kSecond;
};

TEST_F(AdapterTest, MakesAChangeAndKeepsItsRecord) {
  Tick(2'000, 300);
  ASSERT_EQ(Applied(), 1U);
  EXPECT_GT(sink.applied["m"][0].admit_within_ns, 0);
  ASSERT_THAT(adapter.Adaptations(), SizeIs(1));
  const Adaptation record = adapter.Adaptations()[0];
  EXPECT_EQ(record.model, "m");
  EXPECT_EQ(record.version, 3);
  EXPECT_EQ(record.unix_ms, now / kMilli);
  EXPECT_EQ(record.control, Control::kAdmitWithin);
  EXPECT_EQ(record.to, static_cast<double>(sink.applied["m"][0].admit_within_ns));
  EXPECT_TRUE(record.applied);
  EXPECT_EQ(record.realized_goodput_per_s, -1);
  EXPECT_GT(record.predicted_goodput_per_s, 600);
  EXPECT_THAT(record.reason, HasSubstr("of 2000 rows/s in time"));
}

TEST_F(AdapterTest, BeginsWithAnAdmissionLimitBeforeAnythingComes) {
  Tick(0, 0);
  ASSERT_EQ(Applied(), 1U);
  EXPECT_EQ(sink.applied["m"][0].admit_within_ns, 18 * kMilli);
  EXPECT_THAT(adapter.Adaptations()[0].reason, HasSubstr("nothing has come yet"));
  for (int i = 0; i < 5; ++i) Tick(0, 0);
  EXPECT_EQ(Applied(), 1U);
}

TEST_F(AdapterTest, WaitsAWindowAndThenSaysWhatCameOfIt) {
  Tick(2'000, 300);
  for (int i = 0; i < 4; ++i) Tick(2'000, 800);
  EXPECT_EQ(Applied(), 1U);
  EXPECT_EQ(adapter.Adaptations()[0].realized_goodput_per_s, -1);
  Tick(2'000, 800);
  EXPECT_DOUBLE_EQ(adapter.Adaptations()[0].realized_goodput_per_s, 800);
  EXPECT_FALSE(adapter.Adaptations()[0].rolled_back);
}

TEST_F(AdapterTest, TakesAChangeBackThatMadeThingsWorse) {
  // The model says that nothing is in time with batches of one: a larger bound is made, and fails.
  model.controls.admit_within_ns = 16 * kMilli;
  model.controls.max_rows = 1;
  sink.applied["m"].push_back(model.controls);
  Tick(2'000, 450);
  ASSERT_EQ(Applied(), 2U);
  EXPECT_EQ(adapter.Adaptations()[0].control, Control::kMaxRows);
  for (int i = 0; i < 5; ++i) Tick(2'000, 100);
  ASSERT_EQ(Applied(), 3U);
  EXPECT_EQ(sink.applied["m"].back().max_rows, 1);
  ASSERT_THAT(adapter.Adaptations(), SizeIs(2));
  EXPECT_TRUE(adapter.Adaptations()[0].rolled_back);
  EXPECT_DOUBLE_EQ(adapter.Adaptations()[0].realized_goodput_per_s, 100);
  EXPECT_THAT(adapter.Adaptations()[1].reason, HasSubstr("max_rows taken back"));
  EXPECT_EQ(adapter.Adaptations()[1].to, 1);
  // Left alone for 30 s, then tried again.
  for (int i = 0; i < 29; ++i) {
    Tick(2'000, 450);
    EXPECT_EQ(model.controls.max_rows, 1) << i;
  }
  for (int i = 0; i < 12 && model.controls.max_rows == 1; ++i) Tick(2'000, 450);
  EXPECT_GT(model.controls.max_rows, 1);
  // It fails again: the next time is twice as far away.
  for (int i = 0; i < 5; ++i) Tick(2'000, 100);
  EXPECT_EQ(model.controls.max_rows, 1);
  EXPECT_THAT(adapter.Adaptations().back().reason, HasSubstr("left alone for 60 s"));
}

TEST_F(AdapterTest, ALowerLoadIsNoReasonToTakeAChangeBack) {
  Tick(2'000, 800);
  ASSERT_EQ(Applied(), 1U);
  for (int i = 0; i < 5; ++i) Tick(200, 195);
  EXPECT_EQ(adapter.Adaptations()[0].realized_goodput_per_s, 195);
  EXPECT_FALSE(adapter.Adaptations()[0].rolled_back);
}

TEST_F(AdapterTest, AdviceChangesNothingAndIsNotRepeated) {
  model.objective.adapt = AdaptMode::kAdvise;
  for (int i = 0; i < 30; ++i) Tick(2'000, 300);
  EXPECT_EQ(Applied(), 0U);
  ASSERT_THAT(adapter.Adaptations(), SizeIs(1));
  EXPECT_FALSE(adapter.Adaptations()[0].applied);
}

TEST_F(AdapterTest, DoesNothingWhenOffOrWithoutAnObjective) {
  model.objective.adapt = AdaptMode::kOff;
  Tick(2'000, 300);
  model.objective = {.p99_ms = 0, .adapt = AdaptMode::kOn};
  Tick(2'000, 300);
  EXPECT_THAT(adapter.Adaptations(), IsEmpty());
}

TEST_F(AdapterTest, SaysWhyAChangeCouldNotBeMade) {
  sink.refuse = absl::NotFoundError("it is gone");
  Tick(2'000, 300);
  ASSERT_THAT(adapter.Adaptations(), SizeIs(1));
  EXPECT_FALSE(adapter.Adaptations()[0].applied);
  EXPECT_THAT(adapter.Adaptations()[0].reason, HasSubstr("not made: it is gone"));
  for (int i = 0; i < 6; ++i) Tick(2'000, 300);
  EXPECT_EQ(adapter.Adaptations()[0].realized_goodput_per_s, -1);
}

TEST_F(AdapterTest, ForgetsAModelThatIsLoadedAgain) {
  Tick(2'000, 300);
  ASSERT_EQ(Applied(), 1U);
  model.facts.loaded_ns = now;
  model.controls = model.configured;
  sink.applied["m"].clear();
  Tick(2'000, 300);
  EXPECT_EQ(Applied(), 1U) << "without waiting for a window";
}

TEST_F(AdapterTest, UnderTheSameLoadChangesAreTenSecondsApart) {
  model.controls.max_rows = model.configured.max_rows = 32;
  model.controls.max_delay_ns = model.configured.max_delay_ns = 15 * kMilli;
  size_t before = 0;
  int since = 100;
  for (int i = 0; i < 60; ++i, ++since) {
    Tick(600, 500);
    if (adapter.Adaptations().size() == before) continue;
    before = adapter.Adaptations().size();
    EXPECT_GE(since, 10);
    since = 0;
  }
  EXPECT_GE(before, 2U);
}

}  // namespace
}  // namespace bitmill
