#include "server/analysis/power_governor.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kSecond = 1'000'000'000;

// A machine whose energy counter follows from what the models' settings let them do.
class Machine final : public ControlSink {
 public:
  explicit Machine(const PowerOptions& options) : governor_(options, *this) {}

  absl::Status Apply(absl::string_view model, int64_t, const ModelControls& controls) override {
    controls_[std::string(model)] = controls;
    ++applied_;
    return absl::OkStatus();
  }
  void AddModel(const std::string& name, const Objective& objective) {
    objectives_[name] = objective;
    controls_[name] = kConfigured;
  }
  // 20 W idle and 10 W a worker that is busy; batches of more rows cost less a row.
  double Watts() const {
    double watts = 20;
    for (const auto& [name, controls] : controls_) watts += 10.0 * BusyWorkers(controls);
    return watts;
  }
  void Run(int seconds, EnergySource source = EnergySource::kRapl) {
    for (int i = 0; i < seconds; ++i) {
      now_ += kSecond;
      joules_ += Watts();
      HostSample sample;
      sample.energy_at_ns = now_;
      sample.energy = {.source = source, .joules = joules_, .uncertainty = joules_ * 0.05};
      Observation observation;
      observation.now_ns = now_;
      observation.host.machine_busy_cores = 8;
      AnalysisReport report;
      for (const auto& [name, controls] : controls_) {
        ModelWindow window;
        window.facts = {.name = name, .version = 1, .loaded_ns = 1};
        window.controls = controls;
        window.configured = kConfigured;
        window.objective = objectives_[name];
        window.begin_ns = now_ - 5 * kSecond;
        window.end_ns = now_;
        observation.models.push_back(window);
        ModelReport model;
        model.facts = window.facts;
        model.controls = controls;
        model.busy_share = BusyWorkers(controls) / controls.instances;
        model.rows_per_s = 1000;
        model.line = {.a_ms = 0.5, .b_ms = 0.05};
        report.models.push_back(model);
      }
      governor_.Tick(observation, report, sample);
    }
  }
  double Metric(const std::string& name, const std::string& label = "") const {
    for (const MetricPoint& point : governor_.Metrics()) {
      if (point.name == name && (label.empty() || point.labels.front().second == label)) {
        return point.value;
      }
    }
    return -1;
  }
  const ModelControls& Of(const std::string& name) { return controls_[name]; }
  int applied() const { return applied_; }

 private:
  static constexpr ModelControls kConfigured{.max_rows = 32, .max_delay_ns = 0, .instances = 5};
  // The load keeps them all busy with small batches, fewer with large ones.
  static double BusyWorkers(const ModelControls& controls) {
    return std::min<double>(controls.instances, controls.max_delay_ns > 0 ? 3.5 : 5);
  }

  std::map<std::string, ModelControls> controls_;
  std::map<std::string, Objective> objectives_;
  MonotonicNanos now_ = 100 * kSecond;
  double joules_ = 0;
  int applied_ = 0;
  PowerGovernor governor_;
};

TEST(PowerGovernorTest, TheServersLimitSlowsAllModels) {
  Machine machine({.server = {.max_watts = 65}});
  machine.AddModel("a", {});
  machine.AddModel("b", {});
  machine.Run(3);  // two readings, then the first step
  EXPECT_NEAR(machine.Metric("bitmill_power_watts", "rapl"), 120, 1);
  machine.Run(100);
  EXPECT_LE(machine.Watts(), 65);
  EXPECT_EQ(machine.Of("a").instances, machine.Of("b").instances);
  EXPECT_GT(machine.Of("a").max_delay_ns, 0);
  EXPECT_EQ(machine.Metric("bitmill_power_limit_missed"), 0);
  EXPECT_EQ(machine.Metric("bitmill_power_limit_watts"), 65);
}

TEST(PowerGovernorTest, AModelsWishIsItsOwn) {
  Machine machine({});
  machine.AddModel("saving", {.power = {.efficiency = true}});
  machine.AddModel("fast", {});
  machine.Run(200);
  EXPECT_LT(machine.Of("saving").instances, 5);
  EXPECT_EQ(machine.Of("fast").instances, 5);
  EXPECT_EQ(machine.Of("fast").max_delay_ns, 0);
  EXPECT_GT(machine.Metric("bitmill_model_power_level", "saving"), 0);
  EXPECT_LT(machine.Metric("bitmill_model_joules_per_row", "saving"),
            machine.Metric("bitmill_model_joules_per_row_before", "saving"));
  EXPECT_EQ(machine.Metric("bitmill_model_power_limit_missed", "saving"), -1);  // it has none
}

TEST(PowerGovernorTest, TheServersPreferenceIsForModelsThatSayNothing) {
  Machine machine({.server = {.efficiency = true}});
  machine.AddModel("a", {});
  machine.Run(60);
  EXPECT_GT(machine.Metric("bitmill_model_power_level", "a"), 0);
}

TEST(PowerGovernorTest, AnEstimateThatNobodyDeclaredIsNoReading) {
  Machine machine({.server = {.max_watts = 10, .efficiency = true}});
  machine.AddModel("a", {});
  machine.Run(60, EnergySource::kModel);
  EXPECT_EQ(machine.applied(), 0);
  EXPECT_EQ(machine.Metric("bitmill_power_watts"), -1);
}

TEST(PowerGovernorTest, DeclaredWattsWillDo) {
  Machine machine({.server = {.max_watts = 45}, .trust_model = true});
  machine.AddModel("a", {});
  machine.Run(60, EnergySource::kModel);
  EXPECT_LE(machine.Watts(), 45);
  EXPECT_GT(machine.Metric("bitmill_power_uncertainty_watts", "model"), 0);
}

TEST(PowerGovernorTest, WithoutWishesNothingIsTouched) {
  Machine machine({});
  machine.AddModel("a", {});
  machine.Run(60);
  EXPECT_EQ(machine.applied(), 0);
  EXPECT_GT(machine.Metric("bitmill_model_power_watts", "a"), 0);
}

TEST(ModelWattsTest, IdlePowerIsPaidForByThoseWhoUseTheMachine) {
  EXPECT_DOUBLE_EQ(ModelWatts(100, 1, 2, 4), 25);
  EXPECT_DOUBLE_EQ(ModelWatts(100, 1, 2, -1), 50);
  EXPECT_EQ(ModelWatts(-1, 1, 2, 4), -1);
  EXPECT_EQ(ModelWatts(100, 0, 0, 0), -1);
}

TEST(PowerMeterTest, SourcesAreKeptApart) {
  PowerMeter meter(5 * kSecond, /*trust_model=*/false);
  for (int i = 0; i <= 10; ++i) {
    HostSample sample;
    sample.energy_at_ns = i * kSecond;
    sample.energy = {.source = EnergySource::kRapl, .joules = 50.0 * i, .uncertainty = 2.5 * i};
    sample.gpus = std::make_shared<const std::vector<GpuReading>>(
        std::vector<GpuReading>{{.joules = 200.0 * i}, {.joules = 100.0 * i}});
    meter.Add(sample);
    meter.Add(sample);
  }
  const std::vector<SourceWatts> watts = meter.Watts();
  ASSERT_EQ(watts.size(), 2U);
  EXPECT_EQ(watts[0].source, EnergySource::kRapl);
  EXPECT_DOUBLE_EQ(watts[0].watts, 50);
  EXPECT_DOUBLE_EQ(watts[0].uncertainty, 2.5);
  EXPECT_EQ(watts[1].source, EnergySource::kNvml);
  EXPECT_DOUBLE_EQ(watts[1].watts, 300);
  EXPECT_DOUBLE_EQ(meter.TotalWatts(), 350);
}

}  // namespace
}  // namespace bitmill
