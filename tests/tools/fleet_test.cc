#include "tools/analysis/fleet.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/analysis/latency_histogram.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;
using ::testing::ElementsAre;

std::vector<double> Latencies(double median, double spread, size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::lognormal_distribution<double> distribution(std::log(median), spread);
  std::vector<double> values(count);
  for (double& value : values) value = distribution(generator);
  return values;
}

double ExactQuantile(std::vector<double> values, double quantile) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(quantile * static_cast<double>(values.size() - 1))];
}

// A model that answered these in a window of 5 s.
pb::ModelReport Model(const std::string& name, const std::vector<double>& latencies_ms) {
  pb::ModelReport model;
  model.set_name(name);
  model.set_version(1);
  model.set_answered_per_s(static_cast<double>(latencies_ms.size()) / 5);
  model.set_offered_per_s(model.answered_per_s());
  if (latencies_ms.empty()) return model;
  model.mutable_latency()->set_p50_ms(ExactQuantile(latencies_ms, 0.5));
  model.mutable_latency()->set_p99_ms(ExactQuantile(latencies_ms, 0.99));
  const LatencyHistogram histogram = HistogramOf(latencies_ms, 1);
  for (const double upper : histogram.upper_ms) {
    model.mutable_latency_histogram()->add_upper_ms(upper);
  }
  for (const double count : histogram.counts) model.mutable_latency_histogram()->add_counts(count);
  return model;
}

TargetReport Server(const std::string& address, const std::vector<pb::ModelReport>& models) {
  auto report = std::make_shared<pb::Report>();
  report->set_window_seconds(5);
  for (const pb::ModelReport& model : models) *report->add_models() = model;
  return {address, report, "", 0};
}

TEST(FleetTest, QuantilesOfSeveralServersAreThoseOfAllTheirRequests) {
  const std::vector<double> fast = Latencies(2, 0.3, 9000, 1), slow = Latencies(80, 0.2, 900, 2);
  std::vector<double> all = fast;
  all.insert(all.end(), slow.begin(), slow.end());
  const Fleet fleet =
      MergeReports({Server("a:1", {Model("m", fast)}), Server("b:1", {Model("m", slow)})});
  ASSERT_EQ(fleet.models.size(), 1u);
  const FleetModel& merged = fleet.models[0];
  EXPECT_EQ(merged.servers, 2);
  EXPECT_DOUBLE_EQ(merged.answered_per_s, 9900.0 / 5);
  EXPECT_NEAR(merged.p50_ms, ExactQuantile(all, 0.5), 0.05 * ExactQuantile(all, 0.5));
  EXPECT_NEAR(merged.p99_ms, ExactQuantile(all, 0.99), 0.05 * ExactQuantile(all, 0.99));
  // Not their mean (some 42 ms), nor weighted by requests (some 9 ms).
  const double mean_p50 = (ExactQuantile(fast, 0.5) + ExactQuantile(slow, 0.5)) / 2;
  EXPECT_LT(merged.p50_ms, mean_p50 / 10);
}

TEST(FleetTest, AServersWindowWeighsByItsRateNotByItsLength) {
  TargetReport a = Server("a:1", {Model("m", std::vector<double>(1000, 1.0))});
  TargetReport b = Server("b:1", {Model("m", std::vector<double>(1000, 100.0))});
  auto longer = std::make_shared<pb::Report>(*b.report);
  longer->set_window_seconds(500);  // 2/s
  b.report = longer;
  EXPECT_LT(MergeReports({a, b}).models[0].p99_ms, 2.0);
}

TEST(FleetTest, WithoutAHistogramSeveralServersQuantilesAreNotKnown) {
  pb::ModelReport old = Model("m", {1, 2, 3});
  old.clear_latency_histogram();
  const Fleet two = MergeReports({Server("a:1", {Model("m", {1, 2})}), Server("b:1", {old})});
  EXPECT_TRUE(std::isnan(two.models[0].p99_ms));
  const Fleet one = MergeReports({Server("b:1", {old}), Server("c:1", {Model("m", {})})});
  EXPECT_EQ(one.models[0].p99_ms, old.latency().p99_ms()) << "only one of them answered";
}

TEST(FleetTest, RatesQueuesAndCapacitiesAddUp) {
  pb::ModelReport a = Model("m", {1}), b = Model("m", {1});
  a.set_refused_per_s(3);
  b.set_failed_per_s(4);
  a.set_queue_depth(5);
  b.set_queue_depth(7);
  a.set_executions_per_s(10);
  a.set_mean_batch_rows(2);
  b.set_executions_per_s(30);
  b.set_mean_batch_rows(6);
  a.mutable_controls()->set_instances(3);
  a.set_busy_share(1);
  b.mutable_controls()->set_instances(1);
  b.set_busy_share(0);
  a.mutable_forecast()->set_capacity_rows_per_s(100);
  a.mutable_forecast()->set_demand_ahead_rows_per_s(110);
  a.mutable_forecast()->set_seconds_to_saturation(0);
  b.mutable_forecast()->set_capacity_rows_per_s(300);
  b.mutable_forecast()->set_demand_ahead_rows_per_s(90);
  b.mutable_forecast()->set_seconds_to_saturation(-1);
  const FleetModel merged = MergeReports({Server("a:1", {a}), Server("b:1", {b})}).models.at(0);
  EXPECT_EQ(merged.lost_per_s, 7);
  EXPECT_EQ(merged.queue_depth, 12);
  EXPECT_DOUBLE_EQ(merged.mean_batch_rows, (10 * 2 + 30 * 6) / 40.0);
  EXPECT_DOUBLE_EQ(merged.busy_share, 0.75);
  EXPECT_DOUBLE_EQ(merged.headroom, 0.5);
  EXPECT_TRUE(merged.headroom_assumed);
  EXPECT_EQ(merged.seconds_to_saturation, 0);

  a.mutable_forecast()->set_split_known(true);
  EXPECT_TRUE(MergeReports({Server("a:1", {a}), Server("b:1", {b})}).models.at(0).headroom_assumed);
  b.mutable_forecast()->set_split_known(true);
  EXPECT_FALSE(
      MergeReports({Server("a:1", {a}), Server("b:1", {b})}).models.at(0).headroom_assumed);

  b.clear_forecast();
  const FleetModel partly = MergeReports({Server("a:1", {a}), Server("b:1", {b})}).models.at(0);
  EXPECT_TRUE(std::isnan(partly.headroom)) << "b has demand and no known capacity";
}

void Diagnose(pb::Cause cause, double cost_ms, pb::ModelReport& model) {
  model.mutable_diagnosis()->set_cause(cause);
  pb::Finding& finding = *model.mutable_diagnosis()->add_findings();
  finding.set_cause(cause);
  finding.set_recoverable_p99_ms(cost_ms);
  model.mutable_diagnosis()->set_p99_ms(2 * cost_ms);
}

TEST(FleetTest, TheCauseIsThatWhichCostsMostAnywhere) {
  pb::ModelReport healthy = Model("m", {1}), waits = Model("m", {1}), overloaded = Model("m", {1});
  healthy.mutable_diagnosis()->set_cause(pb::HEALTHY);
  Diagnose(pb::BATCH_FORMATION_WAIT, 2, waits);
  Diagnose(pb::OVERLOAD, 30, overloaded);
  const FleetModel merged = MergeReports({Server("a", {healthy}), Server("b", {waits}),
                                          Server("c", {overloaded}), Server("d", {overloaded})})
                                .models.at(0);
  EXPECT_EQ(merged.cause, pb::OVERLOAD);
  EXPECT_EQ(merged.cause_servers, 2);
  EXPECT_EQ(merged.recoverable_p99_ms, 30);
  EXPECT_EQ(merged.judged_p99_ms, 60);
  const FleetModel well =
      MergeReports({Server("a", {healthy}), Server("b", {healthy})}).models.at(0);
  EXPECT_EQ(well.cause, pb::HEALTHY);
  EXPECT_EQ(MergeReports({Server("a", {Model("m", {1})})}).models.at(0).cause, pb::UNKNOWN)
      << "not judged is not healthy";
}

TEST(FleetTest, AServerThatDidNotAnswerCountsAsNone) {
  const Fleet fleet =
      MergeReports({Server("a:1", {Model("m", {1})}), {"b:1", nullptr, "cannot be reached", 0}});
  EXPECT_EQ(fleet.models.at(0).servers, 1);
  EXPECT_EQ(fleet.targets.size(), 2u);
}

TEST(FleetTest, OrdersPutTheUnknownLast) {
  std::vector<FleetModel> models(3);
  models[0].name = "b";
  models[0].headroom = 0.5;
  models[0].queue_depth = 9;
  models[1].name = "c";
  models[1].headroom = -0.2;
  models[2].name = "a";
  const auto names = [&models](FleetOrder order) {
    SortModels(order, models);
    std::vector<std::string> found;
    for (const FleetModel& model : models) found.push_back(model.name);
    return found;
  };
  EXPECT_THAT(names(FleetOrder::kHeadroom), ElementsAre("c", "b", "a"));
  EXPECT_THAT(names(FleetOrder::kName), ElementsAre("a", "b", "c"));
  EXPECT_THAT(names(FleetOrder::kQueue), ElementsAre("b", "a", "c"));
}

}  // namespace
}  // namespace bitmill
