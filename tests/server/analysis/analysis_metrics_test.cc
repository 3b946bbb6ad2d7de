#include "server/analysis/analysis_metrics.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics/metrics.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Finding Found(Cause cause, double recoverable_p99_ms) {
  Finding finding;
  finding.cause = cause;
  finding.recoverable_p99_ms = recoverable_p99_ms;
  return finding;
}

Warning Warns(WarningReason reason, const char* model, int64_t version) {
  Warning warning;
  warning.reason = reason;
  warning.model = model;
  warning.version = version;
  return warning;
}

ModelReport Model(const char* name) {
  ModelReport model;
  model.facts.name = name;
  model.facts.version = 3;
  model.objective.p99_ms = 10;
  model.answered_per_s = 100;
  model.goodput_per_s = 80;
  model.rows_per_s = 400;
  model.latency.mean_ms = 5;
  model.stage_mean_ms = {0.5, 2, 0.25, 0.25, 1, 0.5, 0.25};  // 4.75
  model.share_of_limit = 0.4;
  model.stage_sum_error = 0.05;
  model.little_error = 0.01;
  model.line = {
      .a_ms = 1, .b_ms = 0.5, .relative_error = 0.02, .samples = 100, .split_known = true};
  model.forecast.demand_rows_per_s = 400;
  model.forecast.demand_ahead_rows_per_s = 500;
  model.forecast.capacity_rows_per_s = 1000;
  model.forecast.headroom = 0.5;
  model.forecast.seconds_to_saturation = 300;
  model.forecast.predicted_p99_ms = 8;
  model.diagnosis.cause = Cause::kOverload;
  model.diagnosis.confidence = 0.9;
  model.diagnosis.findings = {Found(Cause::kOverload, 40), Found(Cause::kCpuThrottled, 2)};
  return model;
}

// As it is shown, by the server's own writer.
std::string Shown(const std::function<std::vector<MetricPoint>()>& source) {
  const auto metrics = CreateServerMetrics(HostInfo{});
  metrics->AddSource(source);
  return metrics->RenderText();
}

std::string Shown(const AnalysisReport& report) {
  return Shown([&report] { return AnalysisMetrics(report); });
}

TEST(AnalysisMetricsTest, ShowsWhatAReportSaysOfAModelInBaseUnits) {
  AnalysisReport report;
  report.models = {Model("m")};
  report.records_dropped = 7;
  report.host_diagnosis.cause = Cause::kNoisyNeighbour;
  report.host_diagnosis.findings = {Found(Cause::kNoisyNeighbour, 3)};
  const std::string text = Shown(report);
  const std::string labels = "{model=\"m\",version=\"3\"";
  for (const std::string& line : {
           "bitmill_bottleneck_info" + labels + ",cause=\"overload\"} 1",
           "bitmill_bottleneck_confidence" + labels + "} 0.9",
           "bitmill_bottleneck_score_seconds" + labels + ",cause=\"overload\"} 0.04",
           "bitmill_bottleneck_score_seconds" + labels + ",cause=\"cpu_throttled\"} 0.002",
           "bitmill_service_time_fixed_seconds" + labels + "} 0.001",
           "bitmill_service_time_per_row_seconds" + labels + "} 0.0005",
           "bitmill_capacity_rows_per_second" + labels + "} 1000",
           "bitmill_demand_rows_per_second" + labels + "} 400",
           "bitmill_demand_forecast_rows_per_second" + labels + "} 500",
           "bitmill_headroom_ratio" + labels + "} 0.5",
           "bitmill_time_to_saturation_seconds" + labels + "} 300",
           "bitmill_predicted_p99_seconds" + labels + "} 0.008",
           "bitmill_goodput_rows_per_second" + labels + "} 320",
           "bitmill_objective_p99_seconds" + labels + "} 0.01",
           "bitmill_share_of_limit" + labels + "} 0.4",
           "bitmill_analysis_stage_sum_error_ratio" + labels + "} 0.05",
           "bitmill_analysis_little_error_ratio" + labels + "} 0.01",
           "bitmill_analysis_unaccounted_seconds" + labels + "} 0.00025",
           std::string("bitmill_analysis_records_dropped_total 7"),
           std::string("bitmill_host_bottleneck_info{cause=\"noisy_neighbour\"} 1"),
           std::string("bitmill_host_bottleneck_score_seconds{cause=\"noisy_neighbour\"} 0.003"),
       }) {
    EXPECT_THAT(text, HasSubstr("\n" + line + "\n"));
  }
}

TEST(AnalysisMetricsTest, LeavesOutWhatIsNotKnown) {
  AnalysisReport report;
  ModelReport& model = report.models.emplace_back();
  model.facts.name = "new";
  model.diagnosis.findings = {Found(Cause::kHealthy, 0)};
  const std::string text = Shown(report);
  for (const char* name : {"service_time", "capacity", "headroom", "time_to_saturation",
                           "predicted", "objective", "share_of_limit", "bottleneck_score"}) {
    EXPECT_THAT(text, Not(HasSubstr(absl::StrCat("bitmill_", name)))) << name;
  }
  EXPECT_THAT(text, HasSubstr("bitmill_bottleneck_info{model=\"new\",version=\"0\","
                              "cause=\"unknown\"} 1\n"));
}

TEST(AnalysisMetricsTest, DoesNotDivideAServiceTimeThatWasSeenForOneSizeOnly) {
  AnalysisReport report;
  report.models = {Model("m")};
  report.models[0].line.split_known = false;
  const std::string text = Shown(report);
  EXPECT_THAT(text, Not(HasSubstr("bitmill_service_time")));
  EXPECT_THAT(text, HasSubstr("bitmill_capacity_rows_per_second"));
}

TEST(AnalysisMetricsTest, ALongTimeToSaturationIsInfinite) {
  AnalysisReport report;
  report.models = {Model("m")};
  report.models[0].forecast.seconds_to_saturation = -1;
  EXPECT_THAT(Shown(report), HasSubstr("bitmill_time_to_saturation_seconds{model=\"m\","
                                       "version=\"3\"} +Inf\n"));
}

TEST(AnalysisMetricsTest, ShowsWarningsThatHold) {
  AnalysisReport report;
  report.warnings = {Warns(WarningReason::kSaturationAhead, "m", 2),
                     Warns(WarningReason::kCpuThrottled, "", 0),
                     Warns(WarningReason::kOverloaded, "m", 2)};
  report.warnings[2].cleared_unix_ms = 5;
  const std::string text = Shown(report);
  EXPECT_THAT(text, HasSubstr("bitmill_warning_active{reason=\"saturation_ahead\",model=\"m\","
                              "version=\"2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_warning_active{reason=\"cpu_throttled\",model=\"\","
                              "version=\"\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("overloaded")));
}

class FakeSource final : public AnalysisSource {
 public:
  std::shared_ptr<const AnalysisReport> Newest() const override {
    return std::make_shared<AnalysisReport>(report);
  }
  int64_t Subscribe(std::function<void()>) override { return 0; }
  void Unsubscribe(int64_t) override {}
  std::vector<HistoryPoint> History(absl::string_view, int64_t, int) const override { return {}; }
  std::vector<RequestRecord> SampledRequests(absl::string_view, int64_t, int) const override {
    return {};
  }
  std::vector<Warning> Warnings(double) const override { return {}; }
  std::vector<Adaptation> Adaptations(absl::string_view) const override { return {}; }

  AnalysisReport report;
};

Adaptation Change(int64_t id, Control control, bool applied) {
  Adaptation adaptation;
  adaptation.id = id;
  adaptation.model = "m";
  adaptation.version = 1;
  adaptation.control = control;
  adaptation.applied = applied;
  return adaptation;
}

TEST(AnalysisMetricsTest, CountsEachAdaptationOnce) {
  FakeSource source;
  const auto points = AnalysisMetricsOf(source);
  source.report.adaptations = {Change(1, Control::kMaxRows, true),
                               Change(2, Control::kMaxDelay, false),
                               Change(3, Control::kMaxRows, true)};
  Shown(points);
  // The first one has left the report, another has come.
  source.report.adaptations = {Change(2, Control::kMaxDelay, false),
                               Change(3, Control::kMaxRows, true),
                               Change(4, Control::kMaxRows, true)};
  const std::string text = Shown(points);
  EXPECT_THAT(text, HasSubstr("# TYPE bitmill_adaptations_total counter\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_adaptations_total{model=\"m\",version=\"1\","
                              "control=\"max_rows\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_adaptations_proposed_total{model=\"m\",version=\"1\","
                              "control=\"max_delay\"} 1\n"));
}

TEST(AnalysisMetricsTest, TheNumberOfSeriesIsBounded) {
  AnalysisReport report;
  ModelReport model = Model("m");
  model.diagnosis.findings.clear();
  for (int cause = 0; cause < kCauses; ++cause) {
    model.diagnosis.findings.push_back(Found(static_cast<Cause>(cause), 1));
  }
  report.models = {model};
  for (int reason = 0; reason < kWarningReasons; ++reason) {
    report.warnings.push_back(Warns(static_cast<WarningReason>(reason), "m", 3));
  }
  const auto points = AnalysisMetrics(report);
  const auto of_model = std::count_if(points.begin(), points.end(), [](const MetricPoint& point) {
    return std::any_of(point.labels.begin(), point.labels.end(),
                       [](const auto& label) { return label.first == "model"; });
  });
  EXPECT_LE(of_model, kCauses + kWarningReasons + 20);
}

TEST(AnalysisMetricsTest, PromtoolFindsNothingToComplainAbout) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "promtool is not installed";
  }
  FakeSource source;
  source.report.models = {Model("a"), Model("b")};
  source.report.warnings = {Warns(WarningReason::kOverloaded, "a", 3)};
  source.report.host_diagnosis.findings = {{}};
  source.report.adaptations = {Change(1, Control::kMaxRows, true),
                               Change(2, Control::kMaxDelay, false)};
  const std::string file = ::testing::TempDir() + "/analysis_metrics.txt";
  std::ofstream(file) << Shown(AnalysisMetricsOf(source));
  EXPECT_EQ(std::system(("promtool check metrics <" + file).c_str()), 0);
}

}  // namespace
}  // namespace bitmill
