// The shell around the analysis: windows in, reports out, once a tick.
#include "server/analysis/analyzer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/metrics/model_recorder.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

using testing::SizeIs;

constexpr MonotonicNanos kMilli = 1'000'000;

class FakeServed final : public ServedVersions {
 public:
  std::vector<ObservedModel> Ready() const override { return models; }
  absl::Status Apply(absl::string_view, int64_t, const ModelControls& controls) override {
    applied.push_back(controls);
    return absl::OkStatus();
  }
  std::vector<ObservedModel> models;
  std::vector<ModelControls> applied;
};

class AnalyzerTest : public testing::Test {
 protected:
  AnalyzerTest() { Load(0, "net", 1); }

  void Load(uint32_t id, const std::string& name, int64_t version) {
    ObservedModel model{.id = id, .metrics = &metrics_};
    model.facts.name = name;
    model.facts.version = version;
    model.facts.loaded_ns = clock_.Now();
    model.controls = model.configured = {.max_rows = 8, .instances = 1};
    served_.models.push_back(model);
  }

  // A second in which a request every 10 ms waits 1 ms and is computed in 2. Every second execution
  // also waits so long for a page from a disk.
  void SecondOfTraffic(uint32_t id = 0, int64_t paging_ns = 0) {
    for (int i = 0; i < 100; ++i) {
      clock_.Advance(10 * kMilli);
      const int64_t paged_ns = i % 2 == 0 ? paging_ns : 0;
      const MonotonicNanos received = clock_.Now() - 3 * kMilli - paged_ns;
      metrics_.in_system.Enter(received);
      metrics_.in_system.Leave(clock_.Now());
      RequestRecord request{.received_ns = received, .total_ns = 3 * kMilli + paged_ns};
      request.stages[Stage::kQueue] = kMilli;
      request.stages[Stage::kCompute] = 2 * kMilli + paged_ns;
      request.rows = request.batch_rows = 1;
      request.model = id;
      log_.Add(request);
      log_.Add(ExecutionRecord{.start_ns = received + kMilli,
                               .compute_ns = 2 * kMilli + paged_ns,
                               .cpu_ns = 2 * kMilli,
                               .run_queue_wait_ns = 0,
                               .major_faults = paged_ns > 0 ? 1 : 0,
                               .blocked = paged_ns > 0 ? 1 : 0,
                               .rows = 1,
                               .padded_rows = 1,
                               .requests = 1,
                               .model = id});
      if (i % 10 == 9) analyzer_.Collect();
    }
    analyzer_.Tick();
  }

  FakeClock clock_;
  RequestLog log_;
  ModelRecorder metrics_;
  FakeServed served_;
  HostSampler host_{{.filesystem_root = "/nowhere"}, clock_};
  std::vector<QualityReport> quality_;
  Analyzer analyzer_{{.quality = [this] { return quality_; }}, log_, served_, host_, clock_};
};

TEST_F(AnalyzerTest, HasAReportBeforeTheFirstTick) {
  ASSERT_NE(analyzer_.Newest(), nullptr);
  EXPECT_THAT(analyzer_.Newest()->models, SizeIs(0));
}

TEST_F(AnalyzerTest, ReportsWhatHappenedAndChecksItself) {
  analyzer_.Tick();  // from here on the model is observed
  for (int i = 0; i < 5; ++i) SecondOfTraffic();
  const std::shared_ptr<const AnalysisReport> report = analyzer_.Newest();
  ASSERT_THAT(report->models, SizeIs(1));
  const ModelReport& model = report->models[0];
  EXPECT_EQ(model.facts.name, "net");
  EXPECT_NEAR(model.offered_per_s, 100, 1);
  EXPECT_NEAR(model.latency.p99_ms, 3, 0.01);
  EXPECT_NEAR(model.in_system, 0.3, 0.003);
  EXPECT_LT(model.little_error, 0.02);
  EXPECT_LT(model.stage_sum_error, 0.01);
  EXPECT_NEAR(model.line.a_ms + model.line.b_ms, 2, 0.1);
  EXPECT_EQ(model.diagnosis.cause, Cause::kHealthy);
  EXPECT_EQ(report->records_dropped, 0);
}

TEST_F(AnalyzerTest, KeepsAHistoryAndSamplesWithTheSlowest) {
  analyzer_.Tick();
  for (int i = 0; i < 3; ++i) SecondOfTraffic();
  EXPECT_THAT(analyzer_.History("net", 0, 0), SizeIs(4));
  EXPECT_THAT(analyzer_.History("net", 1, 2), SizeIs(2));
  EXPECT_NEAR(analyzer_.History("net", 1, 0).back().offered_per_s, 100, 1);
  EXPECT_THAT(analyzer_.History("net", 2, 0), SizeIs(0));
  EXPECT_THAT(analyzer_.History("other", 0, 0), SizeIs(0));

  log_.Add(RequestRecord{.received_ns = clock_.Now() - kMilli, .total_ns = 50 * kMilli});
  clock_.Advance(1000 * kMilli);
  analyzer_.Tick();
  const std::vector<RequestRecord> sample = analyzer_.SampledRequests("net", 1, 5);
  EXPECT_THAT(sample, SizeIs(5));
  EXPECT_EQ(std::ranges::max(sample, {}, &RequestRecord::total_ns).total_ns, 50 * kMilli);
}

TEST_F(AnalyzerTest, FollowsWhatIsLoadedAndUnloaded) {
  analyzer_.Tick();
  SecondOfTraffic();
  Load(1, "other", 3);
  SecondOfTraffic();
  EXPECT_THAT(analyzer_.Newest()->models, SizeIs(2));
  served_.models.erase(served_.models.begin());
  SecondOfTraffic(1);
  ASSERT_THAT(analyzer_.Newest()->models, SizeIs(1));
  EXPECT_EQ(analyzer_.Newest()->models[0].facts.name, "other");
  EXPECT_THAT(analyzer_.History("net", 0, 0), SizeIs(0));
  EXPECT_GT(analyzer_.Newest()->models[0].line.samples, 0);
  // Loaded again, it is learned afresh, and what was seen of it stays in the window.
  served_.models[0].facts.loaded_ns = clock_.Now();
  clock_.Advance(1000 * kMilli);
  analyzer_.Tick();
  EXPECT_GT(analyzer_.Newest()->models[0].answered_per_s, 0);
  EXPECT_EQ(analyzer_.Newest()->models[0].line.samples, 0);
  // Another one in its place starts with nothing.
  ModelRecorder other;
  served_.models[0].metrics = &other;
  served_.models[0].facts.loaded_ns = clock_.Now();
  clock_.Advance(1000 * kMilli);
  analyzer_.Tick();
  EXPECT_EQ(analyzer_.Newest()->models[0].answered_per_s, 0);
}

TEST_F(AnalyzerTest, WhatIsSlowAfterAModelWasWarmIsNoColdStart) {
  const auto cold_start = [this] {
    const std::vector<Finding>& findings = analyzer_.Newest()->models[0].diagnosis.findings;
    return std::ranges::find(findings, Cause::kColdStart, &Finding::cause) != findings.end();
  };
  analyzer_.Tick();
  SecondOfTraffic();
  for (int i = 0; i < 6; ++i) SecondOfTraffic(0, 5 * kMilli);  // the window has left the first
  EXPECT_FALSE(cold_start());
  // The same, but that it was loaded again and was never warm.
  served_.models[0].facts.loaded_ns = clock_.Now();
  for (int i = 0; i < 6; ++i) SecondOfTraffic(0, 5 * kMilli);
  EXPECT_TRUE(cold_start());
}

TEST_F(AnalyzerTest, TellsThoseWhoWatchUntilTheyLeave) {
  int reports = 0;
  const int64_t id = analyzer_.Subscribe([&reports] { ++reports; });
  analyzer_.Tick();
  analyzer_.Tick();
  EXPECT_EQ(reports, 2);
  analyzer_.Unsubscribe(id);
  analyzer_.Tick();
  EXPECT_EQ(reports, 2);
}

TEST_F(AnalyzerTest, WarnsOfWhatTheQualityWatchSeesAndForgetsItWhenItPasses) {
  analyzer_.Tick();
  SecondOfTraffic();
  quality_.emplace_back();
  quality_[0].model = "net";
  quality_[0].version = 1;
  quality_[0].accuracy = 0.75;
  quality_[0].alerts = {{QualityAlert::kInputDrift, "psi 0.4 of feature 7"}};
  SecondOfTraffic();
  ASSERT_THAT(analyzer_.Newest()->warnings, SizeIs(1));
  EXPECT_EQ(analyzer_.Newest()->warnings[0].reason, WarningReason::kInputDrift);
  EXPECT_EQ(analyzer_.Newest()->warnings[0].message, "psi 0.4 of feature 7");
  ASSERT_TRUE(analyzer_.Newest()->models[0].quality.has_value());
  EXPECT_EQ(analyzer_.Newest()->models[0].quality->accuracy, 0.75);
  quality_[0].alerts.clear();
  for (int i = 0; i < 20; ++i) SecondOfTraffic();
  EXPECT_THAT(analyzer_.Newest()->warnings, SizeIs(0));
  EXPECT_THAT(analyzer_.Warnings(3600), SizeIs(1));
  EXPECT_THAT(analyzer_.Warnings(0), SizeIs(0));
}

TEST_F(AnalyzerTest, TheThreadTicksAndStops) {
  const SystemClock clock{};
  HostSampler host({.filesystem_root = "/nowhere"}, clock);
  Analyzer analyzer({.collect_ns = kMilli, .tick_ns = 2 * kMilli}, log_, served_, host, clock);
  std::atomic<int> reports{0};
  analyzer.Subscribe([&reports] { ++reports; });
  analyzer.Start();
  while (reports < 3) std::this_thread::yield();
  analyzer.Stop();
  const int seen = reports;
  EXPECT_GE(seen, 3);
  analyzer.Stop();
  EXPECT_EQ(reports, seen);
}

}  // namespace
}  // namespace bitmill
