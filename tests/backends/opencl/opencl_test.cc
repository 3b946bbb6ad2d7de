// Models on every OpenCL device of this machine. Without one the tests are skipped, and say so;
// where BITMILL_REQUIRE_OPENCL is set, as in continuous integration, they fail instead.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/device/device_executable.h"
#include "backends/device/device_plan.h"
#include "backends/device/device_speed.h"
#include "backends/device/tune_tiles.h"
#include "backends/opencl/cl_device.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/cl_plan_device.h"
#include "backends/opencl/conv_tiles.h"
#include "backends/opencl/opencl_backend.h"
#include "base/clock.h"
#include "model/passes/passes.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/backends/opencl/differential.h"
#include "tests/backends/opencl/golden_models.h"

namespace bitmill {
namespace {

// The kernels are compiled once for all tests of this process and, by the cache, for all of a run.
std::string CacheFolder() {
  return (std::filesystem::temp_directory_path() / absl::StrCat("bitmill-opencl-", getuid()))
      .string();
}

struct OpenedDevice {
  std::string name;
  std::shared_ptr<ClDevice> device;  // the same, for plans of lowered graphs
  std::unique_ptr<Backend> cpu;
  std::unique_ptr<Backend> backend;
};

// One backend a usable device; opened once.
const std::vector<OpenedDevice>& Devices() {
  static const std::vector<OpenedDevice>* const kDevices = [] {
    auto* devices = new std::vector<OpenedDevice>;
    const auto api = LoadClApi();
    if (!api.ok()) {
      std::printf("%s\n", std::string(api.status().message()).c_str());
      return devices;
    }
    const auto list = ListClDevices(**api);
    if (!list.ok()) std::printf("%s\n", std::string(list.status().message()).c_str());
    for (size_t i = 0; list.ok() && i < list->size(); ++i) {
      OpenedDevice device;
      device.name = absl::StrCat((*list)[i].platform, ": ", (*list)[i].name);
      device.cpu = CreateCpuBackend();
      OpenClOptions options;
      options.device = absl::StrCat(i);
      options.cache_folder = CacheFolder();
      auto backend = CreateOpenClBackend(*api, options, *device.cpu);
      EXPECT_TRUE(backend.ok()) << device.name << ": " << backend.status();
      if (!backend.ok()) continue;
      device.backend = *std::move(backend);
      auto opened = ClDevice::Open(*api, (*list)[i], ProgramCache(options.cache_folder));
      EXPECT_TRUE(opened.ok()) << device.name << ": " << opened.status();
      if (!opened.ok()) continue;
      device.device = *std::move(opened);
      devices->push_back(std::move(device));
    }
    return devices;
  }();
  return *kDevices;
}

// The device, with a folder of its own for what is measured on it.
class KeepElsewhere final : public PlanDevice {
 public:
  KeepElsewhere(std::shared_ptr<ClDevice> device, std::string folder)
      : device_(MakeClPlanDevice(std::move(device))), cache_(std::move(folder)) {}

  std::string backend_name() const override { return device_->backend_name(); }
  std::string name() const override { return device_->name(); }
  std::string Description() const override { return device_->Description(); }
  ChooseConvTile conv_tiles() const override { return device_->conv_tiles(); }
  std::vector<ConvTile> OtherTiles(const ConvShape& shape) const override {
    return device_->OtherTiles(shape);
  }
  absl::StatusOr<std::string> LoadKept(const std::string& name) const override {
    return cache_.Load({{"device", this->name()}, {"name", name}});
  }
  absl::Status Keep(const std::string& name, const std::string& bytes) const override {
    return cache_.Save({{"device", this->name()}, {"name", name}}, bytes);
  }
  absl::StatusOr<std::unique_ptr<UploadedPlan>> Upload(const DevicePlan& plan) const override {
    return device_->Upload(plan);
  }

 private:
  const std::shared_ptr<const PlanDevice> device_;
  const ProgramCache cache_;
};

#define SKIP_WITHOUT_DEVICE()                                                             \
  if (Devices().empty()) {                                                                \
    ASSERT_EQ(std::getenv("BITMILL_REQUIRE_OPENCL"), nullptr) << "no OpenCL device";      \
    GTEST_SKIP() << "no OpenCL device here; install the package pocl-opencl-icd to test"; \
  }

class OpenClGoldenTest : public testing::TestWithParam<GoldenModel> {};

TEST_P(OpenClGoldenTest, EveryDeviceGivesTheBitsOfTheCpuBackend) {
  SKIP_WITHOUT_DEVICE();
  for (const OpenedDevice& device : Devices()) {
    SCOPED_TRACE(device.name);
    CheckGoldenModel(GetParam(), *device.backend, *device.cpu);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, OpenClGoldenTest, testing::ValuesIn(FindGoldenModels()),
                         [](const testing::TestParamInfo<GoldenModel>& param) {
                           return param.param.name;
                         });

// Random graphs of every kind.
TEST(OpenClTest, RandomGraphsGiveTheReferencesBits) {
  SKIP_WITHOUT_DEVICE();
  for (const OpenedDevice& device : Devices()) {
    SCOPED_TRACE(device.name);
    std::mt19937 random(23);
    const MakeExecutable make =
        [&](const Graph& graph, DevicePlan plan) -> absl::StatusOr<std::unique_ptr<Executable>> {
      return DeviceExecutable::Create(MakeClPlanDevice(device.device), SignatureOfLowered(graph),
                                      std::move(plan));
    };
    for (const LoweredKind& kind : AllLoweredKinds()) {
      SCOPED_TRACE(KindName(kind));
      CheckAgainstReference(RandomLowered(kind, random), make, random);
      if (HasFatalFailure()) return;
      const bool blocks = kind.bits_in && kind.weight_bits == 1;
      for (const ConvTile& tile : AllConvTiles()) {
        if ((tile.run > 0 || tile.lines > 0) && !blocks) continue;
        CheckAgainstReference(RandomLowered(kind, random), make, random,
                              [&](const ConvShape&) { return tile; });
        if (HasFatalFailure()) return;
      }
    }
    for (int i = 0; i < 12; ++i) {
      SCOPED_TRACE(testing::Message() << "graph " << i);
      CheckAgainstReference(RandomPooling(i % 2 == 0, random), make, random);
      CheckAgainstReference(RandomFloat(i % 2 == 0, random), make, random);
      CheckAgainstReference(RandomResidual(random), make, random);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(OpenClTest, SlicesGiveTheBitsOfOctets) {
  SKIP_WITHOUT_DEVICE();
  for (const OpenedDevice& device : Devices()) {
    SCOPED_TRACE(device.name);
    std::mt19937 random(31);
    CheckSlices(
        [&](const Signature& signature, DevicePlan plan) {
          return DeviceExecutable::Create(MakeClPlanDevice(device.device), signature,
                                          std::move(plan));
        },
        40, random);
  }
}

// All tiles that are measured, on the layers of a network.
TEST(OpenClTest, NoTileThatCanBeChosenChangesTheBitsOfANetwork) {
  SKIP_WITHOUT_DEVICE();
  const auto golden = ReadGoldenCase("fmnist_wide_w1a1");
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto lowered = Lower(golden->graph);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  const auto rows = absl::MakeConstSpan(golden->rows).first(3);
  for (const OpenedDevice& device : Devices()) {
    SCOPED_TRACE(device.name);
    const auto trusted = device.cpu->Compile(golden->graph, {.max_rows = 3});
    ASSERT_TRUE(trusted.ok()) << trusted.status();
    const auto wanted = RunRows(**trusted, rows, 3);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    size_t most = 1;
    for (size_t i = 0; i < most; ++i) {
      auto plan = BuildDevicePlan(*lowered, 3, [&](const ConvShape& shape) {
        const std::vector<ConvTile> tiles = PossibleTiles(shape);
        most = std::max(most, tiles.size());
        return tiles[i % tiles.size()];
      });
      ASSERT_TRUE(plan.ok()) << plan.status();
      const auto executable = DeviceExecutable::Create(MakeClPlanDevice(device.device),
                                                       (*trusted)->signature(), *std::move(plan));
      ASSERT_TRUE(executable.ok()) << executable.status();
      for (const int64_t batch : {1, 3}) {
        const auto got = RunRows(**executable, rows, batch);
        ASSERT_TRUE(got.ok()) << got.status();
        EXPECT_EQ(*got, *wanted) << (*executable)->DescribePlan();
      }
    }
    EXPECT_GT(most, 4U);
  }
}

TEST(OpenClTest, TilesAreMeasuredOnceAndKept) {
  SKIP_WITHOUT_DEVICE();
  const auto golden = ReadGoldenCase("fmnist_wide_w1a1");
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto rows = absl::MakeConstSpan(golden->rows).first(3);
  const std::string folder = absl::StrCat(testing::TempDir(), "/tiles-", getpid());
  std::filesystem::remove_all(folder);
  for (const OpenedDevice& device : Devices()) {
    SCOPED_TRACE(device.name);
    const auto trusted = device.cpu->Compile(golden->graph, {.max_rows = 8});
    ASSERT_TRUE(trusted.ok()) << trusted.status();
    const auto wanted = RunRows(**trusted, rows, 3);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    // The kernels come from the other folder; only what is measured goes to this one.
    for (const bool again : {false, true}) {
      const auto lowered = Lower(golden->graph);
      ASSERT_TRUE(lowered.ok()) << lowered.status();
      const auto kept_apart = std::make_shared<KeepElsewhere>(device.device, folder);
      const TileTuning tuning =
          TuneTiles(kept_apart, *lowered, 8, again ? 0.0 : 60.0, SystemClock());
      EXPECT_EQ(tuning.measured > 0, !again) << tuning.Text();
      EXPECT_EQ(tuning.kept > 0, again) << tuning.Text();
      EXPECT_EQ(tuning.untried, 0);
      std::printf("%s: %s\n", device.name.c_str(), tuning.Text().c_str());
      auto plan = BuildDevicePlan(*lowered, 8, tuning.choose);
      ASSERT_TRUE(plan.ok()) << plan.status();
      const auto executable = DeviceExecutable::Create(MakeClPlanDevice(device.device),
                                                       (*trusted)->signature(), *std::move(plan));
      ASSERT_TRUE(executable.ok()) << executable.status();
      const auto got = RunRows(**executable, rows, 3);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(*got, *wanted);
      EXPECT_THAT((*executable)->DescribePlan(), testing::HasSubstr("times as fast"));
    }
  }
  std::filesystem::remove_all(folder);
}

GoldenModel SmallModel() {
  for (const GoldenModel& model : FindGoldenModels()) {
    if (model.name == "fmnist_tfc_w1a1") return model;
  }
  return {};
}

TEST(OpenClTest, ContextsOfOneModelRunAtTheSameTime) {
  SKIP_WITHOUT_DEVICE();
  const auto graph = ReadGoldenGraph(SmallModel());
  const auto golden = ReadGoldenRows(SmallModel());
  ASSERT_TRUE(graph.ok() && golden.ok());
  const auto rows = absl::MakeConstSpan(golden->inputs);
  for (const OpenedDevice& device : Devices()) {
    const auto executable = device.backend->Compile(*graph, {.max_rows = 4});
    ASSERT_TRUE(executable.ok()) << executable.status();
    const auto wanted = RunRows(**executable, rows, 4);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    constexpr int kThreads = 4;
    std::vector<absl::StatusOr<std::vector<RowBytes>>> got(kThreads, absl::UnknownError("not run"));
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back(
          [&, t] { got[static_cast<size_t>(t)] = RunRows(**executable, rows, t + 1); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& answers : got) {
      ASSERT_TRUE(answers.ok()) << answers.status();
      EXPECT_EQ(*answers, *wanted);
    }
    EXPECT_EQ((*executable)->backend_name(), "opencl") << "the CPU took over";
  }
}

TEST(OpenClTest, EventsTellWhereTheTimeWent) {
  SKIP_WITHOUT_DEVICE();
  const auto graph = ReadGoldenGraph(SmallModel());
  const auto golden = ReadGoldenRows(SmallModel());
  ASSERT_TRUE(graph.ok() && golden.ok());
  for (const OpenedDevice& device : Devices()) {
    const auto executable = device.backend->Compile(*graph, {.max_rows = 1});
    ASSERT_TRUE(executable.ok()) << executable.status();
    const std::vector<Operation> operations = (*executable)->operations();
    std::vector<int64_t> ns(operations.size(), 0);
    OperationTimes times{absl::MakeSpan(ns), 0};
    std::vector<std::byte> output(
        static_cast<size_t>((*executable)->signature().outputs[0].row_bytes));
    const std::byte* input_row = golden->inputs[0][0].data();
    std::byte* output_row = output.data();
    const std::byte* const* input_port = &input_row;
    std::byte* const* output_port = &output_row;
    const auto context = (*executable)->CreateContext();
    ASSERT_TRUE((*executable)
                    ->RunTimed({1, absl::MakeConstSpan(&input_port, 1),
                                absl::MakeConstSpan(&output_port, 1)},
                               *context, times)
                    .ok());
    EXPECT_EQ(times.rows, 1);
    int64_t kernels = 0;
    for (size_t i = 0; i < ns.size(); ++i) {
      EXPECT_GE(ns[i], 0) << operations[i].name;
      if (operations[i].row_macs > 0) kernels += ns[i];
    }
    EXPECT_GT(kernels, 0);
    EXPECT_EQ(operations[operations.size() - 2].name, "device queued");
    EXPECT_EQ(operations.back().name, "device submitted");
  }
}

TEST(OpenClTest, ProgramOfADeviceThatHasRunAModelIsTakenFromTheCache) {
  SKIP_WITHOUT_DEVICE();
  const auto graph = ReadGoldenGraph(SmallModel());
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto api = LoadClApi();
  ASSERT_TRUE(api.ok()) << api.status();
  for (const OpenedDevice& device : Devices()) {
    ASSERT_TRUE(device.backend->Compile(*graph, {.max_rows = 4}).ok());
    const auto again = ClDevice::Open(*api, device.device->info(), ProgramCache(CacheFolder()));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_THAT((*again)->origin(), testing::StartsWith("from cache")) << device.name;
    std::printf("%s: %s\n", device.name.c_str(), (*again)->origin().c_str());
  }
}

TEST(OpenClTest, SpeedIsMeasuredBesideTheDevicesOwnLimit) {
  SKIP_WITHOUT_DEVICE();
  for (const OpenedDevice& device : Devices()) {
    const auto speed = MeasureDeviceSpeed(MakeClPlanDevice(device.device));
    ASSERT_TRUE(speed.ok()) << speed.status();
    EXPECT_EQ(speed->convolutions.size(), 4U);
    for (const ConvSpeed& conv : speed->convolutions) {
      EXPECT_GT(conv.macs_per_s, 0.0);
      EXPECT_GT(speed->count_bits, conv.macs_per_s) << "a limit that a kernel exceeds is none";
    }
  }
}

}  // namespace
}  // namespace bitmill
