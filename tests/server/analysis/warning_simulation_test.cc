// The bars of the warnings, on a few of the seeds that bench/warning.py runs.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/effort.h"
#include "tests/support/simulation/warning_scenarios.h"

namespace bitmill {
namespace {

constexpr uint64_t kSeeds = 3;

template <typename Run>
std::vector<ScenarioOutcome> Each(Run run) {
  std::vector<ScenarioOutcome> outcomes;
  for (uint64_t seed = 101; seed < 101 + kSeeds; ++seed) outcomes.push_back(run(seed));
  return outcomes;
}

class WarningSimulationTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ramps_ = Each(RunRamp);
    stationary_ = Each(RunStationary);
    steps_ = Each(RunStep);
  }
  static SignalSummary Of(Signal signal) { return Summarize(signal, ramps_, stationary_, steps_); }

  static inline std::vector<ScenarioOutcome> ramps_;
  static inline std::vector<ScenarioOutcome> stationary_;
  static inline std::vector<ScenarioOutcome> steps_;
};

TEST_F(WarningSimulationTest, EveryRampSaturates) {
  for (const ScenarioOutcome& run : ramps_) EXPECT_GT(run.saturated_seconds, 0);
}

TEST_F(WarningSimulationTest, RampsAreToldTwentySecondsAheadAndNoneIsMissed) {
  const SignalSummary ours = Of(Signal::kOurs);
  EXPECT_EQ(ours.missed, 0);
  EXPECT_GE(ours.median_lead, 20);
  EXPECT_GE(ours.median_steady_lead, 15);
}

TEST_F(WarningSimulationTest, OneSecondInAHundredIsAFalseAlarmAtMost) {
  EXPECT_LE(Of(Signal::kOurs).false_share, 0.01);
}

TEST_F(WarningSimulationTest, ABusyWorkerIsNoSignOfSaturation) {
  EXPECT_GT(Of(Signal::kBusy).false_share, 0.3);
}

TEST_F(WarningSimulationTest, ExtrapolatingLatencyWarnsLater) {
  EXPECT_LT(Of(Signal::kPredictLinear).median_steady_lead, Of(Signal::kOurs).median_steady_lead);
}

TEST_F(WarningSimulationTest, StepsAreSeenWithinTwoSeconds) {
  EXPECT_LE(Of(Signal::kOurs).median_detect, 2);
  EXPECT_LE(Of(Signal::kOurs).worst_detect, 2.3);
}

TEST_F(WarningSimulationTest, TheCapacityFollowsASlowerMachineWithinFiveSeconds) {
  for (const ScenarioOutcome& run :
       Each([](uint64_t seed) { return RunCapacityLoss(seed, false); })) {
    EXPECT_GT(run.follow_seconds, 0);
    EXPECT_LE(run.follow_seconds, 5);
    EXPECT_GT(run.told_seconds, 0);
    EXPECT_LE(run.told_seconds, 8);
  }
}

TEST_F(WarningSimulationTest, TheCapacityFollowsAQuotaWithinFiveSeconds) {
  for (const ScenarioOutcome& run :
       Each([](uint64_t seed) { return RunCapacityLoss(seed, true); })) {
    EXPECT_GT(run.follow_seconds, 0);
    EXPECT_LE(run.follow_seconds, 5);
  }
}

TEST(PredictedLatencyTest, IsWithinFifteenPercentBelowNinetyPercentLoad) {
  for (const int instances : {1, 2}) {
    for (const double share_a : {0.05, 0.5}) {
      if (kSlowRun && share_a < 0.5) continue;
      for (const double load : {0.5, 0.88}) {
        const LatencyOutcome outcome =
            RunSteady({.load = load, .instances = instances, .share_a = share_a});
        EXPECT_NEAR(outcome.predicted_ms / outcome.simulated_ms, 1, 0.15)
            << "load " << load << ", instances " << instances << ", share of a " << share_a << ": "
            << outcome.predicted_ms << " ms against " << outcome.simulated_ms;
      }
    }
  }
}

}  // namespace
}  // namespace bitmill
