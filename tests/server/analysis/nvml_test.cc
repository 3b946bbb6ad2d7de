#include "server/analysis/nvml.h"

#include <dlfcn.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/analysis/host_sampler.h"
#include "tests/fakes/fake_clock.h"
#include "tests/server/analysis/fake_host.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

// The variables of the library that the server's code has loaded as well.
class NvmlTest : public ::testing::Test {
 protected:
  NvmlTest()
      : library_(dlopen(BITMILL_FAKE_NVML, RTLD_NOW)),
        millijoules_(*static_cast<unsigned long long*>(dlsym(library_, "fake_nvml_millijoules"))),
        init_result_(*static_cast<int*>(dlsym(library_, "fake_nvml_init_result"))),
        open_(*static_cast<int*>(dlsym(library_, "fake_nvml_open"))) {
    millijoules_ = 5'000'000;
    init_result_ = 0;
  }
  ~NvmlTest() override { dlclose(library_); }

  void* const library_;
  unsigned long long& millijoules_;
  int& init_result_;
  int& open_;
};

TEST_F(NvmlTest, ReadsWhatEachGpuTells) {
  const auto nvml = Nvml::Open(BITMILL_FAKE_NVML);
  ASSERT_TRUE(nvml.ok()) << nvml.status();
  const std::vector<GpuReading> gpus = (*nvml)->Read();
  ASSERT_EQ(gpus.size(), 2U);
  EXPECT_EQ(gpus[0].index, 0);
  EXPECT_EQ(gpus[0].uuid, "GPU-aaaa");
  EXPECT_EQ(gpus[0].name, "Fake H100");
  EXPECT_EQ(gpus[0].memory_total_bytes, 80'000);
  EXPECT_EQ(gpus[0].memory_used_bytes, 30'000);
  EXPECT_DOUBLE_EQ(gpus[0].busy_share, 0.75);
  EXPECT_DOUBLE_EQ(gpus[0].memory_busy_share, 0.25);
  EXPECT_DOUBLE_EQ(gpus[0].watts, 350.5);
  EXPECT_EQ(gpus[0].sm_clock_mhz, 1'980);
  EXPECT_EQ(gpus[0].memory_clock_mhz, 2'619);
  EXPECT_EQ(gpus[0].temperature_celsius, 61);
  EXPECT_EQ(gpus[1].busy_share, -1);
  EXPECT_EQ(gpus[1].joules, -1);
  EXPECT_DOUBLE_EQ(gpus[1].watts, 70);
}

TEST_F(NvmlTest, CountsEnergyFromItsOpeningOn) {
  const auto nvml = Nvml::Open(BITMILL_FAKE_NVML);
  ASSERT_TRUE(nvml.ok());
  EXPECT_DOUBLE_EQ((*nvml)->Read()[0].joules, 0);
  millijoules_ += 1'500;
  EXPECT_DOUBLE_EQ((*nvml)->Read()[0].joules, 1.5);
  millijoules_ = 250;  // the driver was loaded again
  EXPECT_DOUBLE_EQ((*nvml)->Read()[0].joules, 1.75);
}

TEST_F(NvmlTest, ShutsTheLibraryDown) {
  const int before = open_;
  {
    const auto nvml = Nvml::Open(BITMILL_FAKE_NVML);
    EXPECT_EQ(open_, before + 1);
  }
  EXPECT_EQ(open_, before);
}

TEST_F(NvmlTest, SaysWhyThereIsNone) {
  EXPECT_EQ(Nvml::Open("/nowhere/libnvidia-ml.so.1").status().code(), absl::StatusCode::kNotFound);
  const absl::Status broken = Nvml::Open(BITMILL_BROKEN_NVML).status();
  EXPECT_EQ(broken.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(broken.message()), HasSubstr("has no function nvmlShutdown"));
  init_result_ = 9;
  const absl::Status no_driver = Nvml::Open(BITMILL_FAKE_NVML).status();
  EXPECT_EQ(no_driver.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(no_driver.message()), HasSubstr("Driver Not Loaded"));
}

TEST_F(NvmlTest, GpusAreMetricsAndASourceOfEnergyOfTheirOwn) {
  const FakeHost host;
  FakeClock clock;
  auto nvml = Nvml::Open(BITMILL_FAKE_NVML);
  ASSERT_TRUE(nvml.ok());
  HostSamplerOptions options;
  options.filesystem_root = host.root();
  options.nvml = *std::move(nvml);
  HostSampler sampler(std::move(options), clock);
  sampler.Sample();
  millijoules_ += 40'000;
  clock.Advance(1'000'000'000);
  sampler.Sample();
  double nvml_joules = -1, watts = -1;
  int memories = 0, energies = 0;
  for (const MetricPoint& point : sampler.Metrics()) {
    const std::string label = point.labels.empty() ? "" : point.labels.front().second;
    if (point.name == "bitmill_energy_joules_total" && label == "nvml") nvml_joules = point.value;
    if (point.name == "bitmill_gpu_power_watts" && label == "0") watts = point.value;
    if (point.name == "bitmill_gpu_memory_used_bytes") ++memories;
    if (point.name == "bitmill_gpu_energy_joules_total") ++energies;
  }
  EXPECT_DOUBLE_EQ(nvml_joules, 40);
  EXPECT_DOUBLE_EQ(watts, 350.5);
  EXPECT_EQ(memories, 2);
  EXPECT_EQ(energies, 1);  // the other GPU counts none
}

TEST_F(NvmlTest, LooksAtGpusOnceASecond) {
  const FakeHost host;
  FakeClock clock;
  auto nvml = Nvml::Open(BITMILL_FAKE_NVML);
  HostSamplerOptions options;
  options.filesystem_root = host.root();
  options.nvml = *std::move(nvml);
  HostSampler sampler(std::move(options), clock);
  sampler.Sample();
  const auto first = sampler.Newest().gpus;
  for (int i = 0; i < 9; ++i) {
    clock.Advance(100'000'000);
    sampler.Sample();
  }
  EXPECT_EQ(sampler.Newest().gpus, first);
  clock.Advance(100'000'000);
  sampler.Sample();
  EXPECT_NE(sampler.Newest().gpus, first);
}

}  // namespace
}  // namespace bitmill
