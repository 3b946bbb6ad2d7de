#include "server/routing_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "backends/routed_executable.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_repository.h"

namespace bitmill {
namespace {

std::unique_ptr<Executable> NewExecutable() {
  return std::make_unique<FakeExecutable>(IdentitySignature(DType::kFloat32, {1}), 4);
}

struct NoRuntime final : ModelRuntime {
  void Drain() override {}
};

// Name and labels but the model's, of each point: "bitmill_x backend=cpu rows=1".
std::map<std::string, double> ValuesOf(const std::vector<MetricPoint>& points) {
  std::map<std::string, double> values;
  for (const MetricPoint& point : points) {
    std::string key = point.name;
    for (const auto& [name, value] : point.labels) {
      if (name != "model" && name != "version") absl::StrAppend(&key, " ", name, "=", value);
    }
    values[key] = point.value;
  }
  return values;
}

class RoutingMetricsTest : public testing::Test {
 protected:
  void AddRouted(const std::string& name, std::vector<int64_t> device_ns) {
    std::vector<RouteTable> tables = {
        {.backend = "cpu", .rows = {1, 2, 4}, .ns = {100, 200, 400}, .measured = 3},
        {.backend = "opencl", .rows = {1, 2, 4}, .ns = std::move(device_ns), .measured = 3}};
    auto router = std::make_unique<BatchRouter>(std::move(tables), loads_, clock_);
    router_ = router.get();
    std::vector<std::unique_ptr<Executable>> executables;
    executables.push_back(NewExecutable());
    executables.push_back(NewExecutable());
    std::unique_ptr<Executable> executable =
        std::make_unique<RoutedExecutable>(std::move(executables), std::move(router), name);
    ASSERT_TRUE(
        repository_.Add(name, [&] { return MakeServedModel(name, 3, std::move(executable)); })
            .ok());
  }

  FakeClock clock_;
  const std::shared_ptr<BackendLoads> loads_ =
      std::make_shared<BackendLoads>(std::vector<int>{1, 1});
  FakeRepository repository_{[](const ServedModel&) {
    return absl::StatusOr<std::unique_ptr<ModelRuntime>>(std::make_unique<NoRuntime>());
  }};
  BatchRouter* router_ = nullptr;  // of the last model
};

TEST_F(RoutingMetricsTest, SayWhatWasMeasuredAndWhereBatchesWent) {
  AddRouted("m", {150, 150, 150});
  RoutedBatch batch;
  router_->Route(4, batch);
  clock_.Advance(300);
  router_->Finish(batch);
  const std::vector<MetricPoint> points = RoutingMetrics(repository_);
  ASSERT_FALSE(points.empty());
  EXPECT_EQ(points.front().labels[0].second, "m");
  EXPECT_EQ(points.front().labels[1].second, "3");
  const auto values = ValuesOf(points);
  EXPECT_DOUBLE_EQ(values.at("bitmill_route_batch_seconds backend=cpu rows=4"), 400e-9);
  EXPECT_DOUBLE_EQ(values.at("bitmill_route_batch_seconds backend=opencl rows=1"), 150e-9);
  EXPECT_EQ(values.at("bitmill_route_break_even_rows backend=opencl"), 2);
  EXPECT_FALSE(values.contains("bitmill_route_break_even_rows backend=cpu"));
  EXPECT_NEAR(values.at("bitmill_route_drift_ratio backend=opencl"), std::pow(2.0, 0.25), 1e-6);
  EXPECT_EQ(values.at("bitmill_route_drift_ratio backend=cpu"), 1);
  EXPECT_EQ(values.at("bitmill_routed_batches_total backend=opencl reason=fastest"), 1);
  EXPECT_EQ(values.at("bitmill_routed_batches_total backend=cpu reason=fastest"), 0);
  EXPECT_EQ(values.at("bitmill_route_backend_failed backend=opencl"), 0);
  EXPECT_NEAR(values.at("bitmill_route_predicted_seconds backend=opencl rows=1"),
              150e-9 * std::pow(2.0, 0.25), 1e-9);
  EXPECT_EQ(values.at("bitmill_route_choice_info rows=1 backend=cpu reason=fastest"), 1);
  EXPECT_EQ(values.at("bitmill_route_choice_info rows=4 backend=opencl reason=fastest"), 1);
}

TEST_F(RoutingMetricsTest, SayWhereThePartsOfAModelAre) {
  auto executable = std::make_unique<FakeExecutable>(IdentitySignature(DType::kFloat32, {1}), 8);
  executable->divided = {.mode = "data",
                         .parts = {{.name = "part 1", .backend = "cpu", .row_macs = 5, .rows = 6},
                                   {.name = "part 2",
                                    .backend = "opencl",
                                    .weight_bytes = 70,
                                    .handed_bytes = 3,
                                    .rows = 2,
                                    .drift = 1.5}}};
  ASSERT_TRUE(
      repository_.Add("m", [&] { return MakeServedModel("m", 1, std::move(executable)); }).ok());
  const auto values = ValuesOf(RoutingMetrics(repository_));
  EXPECT_EQ(values.at("bitmill_part_row_macs mode=data part=part 1 backend=cpu"), 5);
  EXPECT_EQ(values.at("bitmill_part_rows mode=data part=part 1 backend=cpu"), 6);
  EXPECT_EQ(values.at("bitmill_part_weight_bytes mode=data part=part 2 backend=opencl"), 70);
  EXPECT_EQ(values.at("bitmill_part_handed_bytes mode=data part=part 2 backend=opencl"), 3);
  EXPECT_EQ(values.at("bitmill_part_drift_ratio mode=data part=part 2 backend=opencl"), 1.5);
}

TEST_F(RoutingMetricsTest, OfPartsThatAreNotRowsThereIsNoDrift) {
  auto executable = std::make_unique<FakeExecutable>(IdentitySignature(DType::kFloat32, {1}), 8);
  executable->divided = {.mode = "pipeline", .parts = {{.name = "stage 1", .backend = "cpu"}}};
  ASSERT_TRUE(
      repository_.Add("m", [&] { return MakeServedModel("m", 1, std::move(executable)); }).ok());
  for (const MetricPoint& point : RoutingMetrics(repository_)) {
    EXPECT_NE(point.name, "bitmill_part_drift_ratio");
  }
}

TEST_F(RoutingMetricsTest, ADeviceThatIsNeverFasterHasNoBreakEven) {
  AddRouted("m", {500, 500, 500});
  EXPECT_EQ(
      ValuesOf(RoutingMetrics(repository_)).at("bitmill_route_break_even_rows backend=opencl"),
      std::numeric_limits<double>::infinity());
}

TEST_F(RoutingMetricsTest, PointsOfANameAreTogetherAndOthersModelsHaveNone) {
  ASSERT_TRUE(
      repository_.Add("plain", [] { return MakeServedModel("plain", 1, NewExecutable()); }).ok());
  EXPECT_TRUE(RoutingMetrics(repository_).empty());
  AddRouted("a", {1, 1, 1});
  AddRouted("b", {1, 1, 1});
  std::set<std::string> seen;
  std::string last;
  for (const MetricPoint& point : RoutingMetrics(repository_)) {
    EXPECT_NE(point.labels[0].second, "plain");
    if (point.name == last) continue;
    EXPECT_TRUE(seen.insert(point.name).second) << point.name;
    last = point.name;
  }
  EXPECT_EQ(seen.size(), 7U);
}

}  // namespace
}  // namespace bitmill
