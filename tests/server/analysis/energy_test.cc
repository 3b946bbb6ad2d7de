#include "server/analysis/energy.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/analysis/fake_host.h"

namespace bitmill {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr EnergyModel kModel{.idle_watts = 1, .busy_watts = 4, .relative_uncertainty = 0.5};

class EnergyMeterTest : public ::testing::Test {
 protected:
  void PutZone(const std::string& zone, const std::string& name, int64_t energy_uj) {
    const std::string folder = absl::StrCat("/sys/class/powercap/intel-rapl:", zone);
    host_.Put(folder + "/name", name + "\n");
    host_.Put(folder + "/max_energy_range_uj", "1000000000\n");
    host_.Put(folder + "/energy_uj", absl::StrCat(energy_uj, "\n"));
  }

  FakeHost host_;
};

TEST_F(EnergyMeterTest, WithoutCountersTheModelAddsIdleAndBusyCores) {
  EnergyMeter meter(host_.root(), kModel);
  meter.Update(0, 2, 8, host_.buffer());
  EXPECT_EQ(meter.reading().joules, 0);
  meter.Update(10 * kSecond, 2, 8, host_.buffer());
  EXPECT_EQ(meter.reading().source, EnergySource::kModel);
  EXPECT_DOUBLE_EQ(meter.reading().joules, 10 * (6 * 1 + 2 * 4));
  EXPECT_DOUBLE_EQ(meter.reading().uncertainty, 70);
}

TEST_F(EnergyMeterTest, TheModelAddsNothingWhenItIsNotKnownHowBusyTheMachineWas) {
  EnergyMeter meter(host_.root(), kModel);
  meter.Update(0, 1, 4, host_.buffer());
  meter.Update(kSecond, -1, 4, host_.buffer());
  EXPECT_EQ(meter.reading().joules, 0);
  meter.Update(2 * kSecond, 9, 4, host_.buffer());  // busier than it has cores
  EXPECT_DOUBLE_EQ(meter.reading().joules, 16);
}

TEST_F(EnergyMeterTest, AddsPackagesAndMemoryButNothingTwice) {
  PutZone("0", "package-0", 100);
  PutZone("0:0", "core", 100);
  PutZone("0:1", "dram", 100);
  PutZone("1", "package-1", 100);
  PutZone("2", "psys", 100);
  EnergyMeter meter(host_.root());
  meter.Update(0, 1, 4, host_.buffer());
  EXPECT_EQ(meter.reading().joules, 0);
  PutZone("0", "package-0", 5'000'100);
  PutZone("0:0", "core", 4'000'100);
  PutZone("0:1", "dram", 2'000'100);
  PutZone("1", "package-1", 3'000'100);
  PutZone("2", "psys", 20'000'100);
  meter.Update(kSecond, 1, 4, host_.buffer());
  EXPECT_EQ(meter.reading().source, EnergySource::kRapl);
  EXPECT_DOUBLE_EQ(meter.reading().joules, 10);
  EXPECT_DOUBLE_EQ(meter.reading().uncertainty, 0.5);
}

TEST_F(EnergyMeterTest, FollowsACounterThatWrapsAround) {
  PutZone("0", "package-0", 999'000'000);
  EnergyMeter meter(host_.root());
  meter.Update(0, 1, 4, host_.buffer());
  PutZone("0", "package-0", 2'000'000);
  meter.Update(kSecond, 1, 4, host_.buffer());
  EXPECT_DOUBLE_EQ(meter.reading().joules, 3);
}

TEST_F(EnergyMeterTest, AGapInTheReadingsLosesNothingAndIsNotFilledByTheModel) {
  PutZone("0", "package-0", 1'000'000);
  EnergyMeter meter(host_.root());
  meter.Update(0, 1, 4, host_.buffer());
  host_.Put("/sys/class/powercap/intel-rapl:0/energy_uj", "garbage");
  meter.Update(kSecond, 1, 4, host_.buffer());
  EXPECT_EQ(meter.reading().joules, 0);
  EXPECT_EQ(meter.reading().source, EnergySource::kRapl);
  PutZone("0", "package-0", 4'000'000);
  meter.Update(2 * kSecond, 1, 4, host_.buffer());
  EXPECT_DOUBLE_EQ(meter.reading().joules, 3);
}

TEST_F(EnergyMeterTest, CountersThatCannotBeReadAreAsIfThereWereNone) {
  host_.Put("/sys/class/powercap/intel-rapl:0/name", "package-0\n");
  EnergyMeter meter(host_.root(), kModel);
  EXPECT_EQ(meter.reading().source, EnergySource::kModel);
}

}  // namespace
}  // namespace bitmill
