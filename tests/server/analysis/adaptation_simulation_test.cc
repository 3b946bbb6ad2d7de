// The closed loop: a simulated server whose settings follow its objective, against fixed ones.
#include <gtest/gtest.h>

#include "bench/analysis/adaptation_scenarios.h"

namespace bitmill {
namespace {

Scenario Medium(LoadShape shape, double load) {
  Scenario scenario{.name = "medium", .workers = 1, .models = {ScenarioModels()[1]}};
  scenario.shape = shape;
  scenario.load = load;
  scenario.seconds = 30;
  return scenario;
}

class SteadyLoadTest : public ::testing::TestWithParam<double> {};

TEST_P(SteadyLoadTest, AnswersAsMuchInTimeAsTheBestFixedSetting) {
  const Scenario scenario = Medium(LoadShape::kSteady, GetParam());
  const auto arrivals = ArrivalsOf(scenario);
  const Oracle oracle = FindOracle(scenario, arrivals, true);
  const SimOutcome adapted = RunPolicy(scenario, arrivals, SimPolicy::kAdapt);
  EXPECT_GE(adapted.good_rows, 0.95 * oracle.outcome.good_rows) << oracle.setting;
  EXPECT_LE(adapted.changes.size(), 4U);
}

INSTANTIATE_TEST_SUITE_P(Loads, SteadyLoadTest, ::testing::Values(0.5, 1.0, 2.0));

TEST(AdaptationSimulationTest, AnOverloadDoesNotCostThePeak) {
  double peak = 0;
  for (const double load : {1.0, 1.2}) {
    const Scenario scenario = Medium(LoadShape::kSteady, load);
    peak = std::max(peak, RunPolicy(scenario, ArrivalsOf(scenario), SimPolicy::kAdapt).good_rows);
  }
  const Scenario twice = Medium(LoadShape::kSteady, 2);
  const auto arrivals = ArrivalsOf(twice);
  EXPECT_GE(RunPolicy(twice, arrivals, SimPolicy::kAdapt).good_rows, 0.9 * peak);
  // The same server as it was configured answers next to nothing in time.
  EXPECT_LT(RunPolicy(twice, arrivals, SimPolicy::kFixed).good_rows, 0.3 * peak);
}

TEST(AdaptationSimulationTest, AStepOfTheLoadIsServedWithinThreeSeconds) {
  const Scenario scenario = Medium(LoadShape::kStep, 0);
  const auto arrivals = ArrivalsOf(scenario);
  const SimOutcome adapted = RunPolicy(scenario, arrivals, SimPolicy::kAdapt);
  const double capacity = CapacityOf(scenario.models[0]);
  for (size_t second = 13; second < 20; ++second) {
    EXPECT_GE(adapted.good_by_second[second], 0.85 * capacity) << second;
  }
}

TEST(AdaptationSimulationTest, IsTheSameEveryTime) {
  const Scenario scenario = Medium(LoadShape::kBurst, 0);
  const auto arrivals = ArrivalsOf(scenario);
  const SimOutcome once = RunPolicy(scenario, arrivals, SimPolicy::kAdapt);
  const SimOutcome again = RunPolicy(scenario, arrivals, SimPolicy::kAdapt);
  EXPECT_EQ(once.good_rows, again.good_rows);
  EXPECT_EQ(once.good_by_second, again.good_by_second);
}

}  // namespace
}  // namespace bitmill
