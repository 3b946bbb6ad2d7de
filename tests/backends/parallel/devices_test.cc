// Parts on OpenCL devices: the fake driver, which fails where it is told to, and every device of
// this machine, unless sanitizers look on, which would report what the driver does.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "backends/backend_set.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/device/device_plan.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/opencl_backend.h"
#include "backends/parallel/parallel_backend.h"
#include "base/clock.h"
#include "model/passes/passes.h"
#include "tests/backends/opencl/fake_opencl.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

using testing::HasSubstr;

constexpr int64_t kMaxRows = 7;
constexpr size_t kRows = 8;
constexpr int32_t kOutOfResources = -5;  // of CL/cl.h
constexpr const char* kWays[] = {"data:cpu,opencl", "tensor:cpu,opencl", "pipeline:cpu,opencl",
                                 "pipeline:opencl,cpu,opencl"};

class DevicePartsTest : public testing::Test {
 protected:
  void Use(std::shared_ptr<const ClApi> api, const OpenClOptions& options) {
    auto set = std::make_unique<BackendSet>(CreateCpuBackend());
    set->Add("opencl", [api, options, &cpu = set->first()] {
      return CreateOpenClBackend(api, options, cpu);
    });
    backend_ = CreateParallelBackend(std::move(set), &team_, {.measure_ns = 2'000'000}, clock_);
  }

  void UseFakeDriver() {
    const auto api = LoadClApi(BITMILL_FAKE_OPENCL);
    ASSERT_TRUE(api.ok()) << api.status();
    void* const library = dlopen(BITMILL_FAKE_OPENCL, RTLD_NOW | RTLD_NOLOAD);
    ASSERT_NE(library, nullptr);
    const auto control = reinterpret_cast<FakeOpenCl* (*)()>(dlsym(library, "FakeOpenClControl"));
    ASSERT_NE(control, nullptr);
    fake_ = control();
    *fake_ = {nullptr, 0, 0, false, 1, 0, 0};
    Use(*api, {.library = BITMILL_FAKE_OPENCL, .device = "", .cache_folder = ""});
  }

  absl::StatusOr<std::unique_ptr<Executable>> Compile(const Graph& graph, const std::string& how) {
    CompileOptions options;
    options.max_rows = kMaxRows;
    options.parallel = how;
    return backend_->Compile(graph, options);
  }

  // Integer models: the CPU's bits; others within the tolerance of their golden files.
  void CheckGoldenModels() {
    for (const GoldenModel& model : FindGoldenModels()) {
      SCOPED_TRACE(model.name);
      const auto graph = ReadGoldenGraph(model);
      ASSERT_TRUE(graph.ok()) << graph.status();
      const auto lowered = Lower(*graph);
      ASSERT_TRUE(lowered.ok()) << lowered.status();
      const auto plan = BuildDevicePlan(*lowered, 1);
      ASSERT_TRUE(plan.ok()) << plan.status();
      const auto golden = ReadGoldenRows(model);
      ASSERT_TRUE(golden.ok()) << golden.status();
      const auto whole = CreateCpuBackend()->Compile(*graph, {.max_rows = kMaxRows});
      ASSERT_TRUE(whole.ok()) << whole.status();
      if ((*whole)->row_macs() > most_macs_) continue;
      const auto rows =
          absl::MakeConstSpan(golden->inputs).first(std::min(kRows, golden->inputs.size()));
      const auto wanted = RunRows(**whole, rows, (*whole)->max_rows());
      ASSERT_TRUE(wanted.ok()) << wanted.status();
      for (const char* how : kWays) {
        SCOPED_TRACE(how);
        const auto divided = Compile(*graph, how);
        ASSERT_TRUE(divided.ok()) << divided.status();
        for (const int64_t batch : {(*divided)->max_rows(), int64_t{1}}) {
          const auto got = RunRows(**divided, rows, batch, 1);
          ASSERT_TRUE(got.ok()) << got.status();
          for (size_t r = 0; r < rows.size(); ++r) {
            if (plan->exact) {
              ASSERT_EQ(got->at(r) == wanted->at(r), true)
                  << "row " << r << ", batches of " << batch << "\n"
                  << (*divided)->DescribePlan();
            } else {
              ASSERT_LE(LargestGap(got->at(r), wanted->at(r)), golden->tolerance) << "row " << r;
            }
          }
        }
        // A model whose layers have one slice each stays whole.
        const std::string plan_text = (*divided)->DescribePlan();
        if (absl::StrContains(how, "tensor") && !absl::StrContains(plan_text, " parts")) continue;
        EXPECT_THAT(plan_text, HasSubstr("on opencl"));
        ++divided_;
      }
      ++checked_;
    }
  }

  SystemClock clock_;
  ThreadTeam team_{2};
  FakeOpenCl* fake_ = nullptr;
  std::unique_ptr<Backend> backend_;
  int64_t most_macs_ = 2'000'000;  // of models: the fake driver's kernels are plain loops
  int checked_ = 0, divided_ = 0;
};

TEST_F(DevicePartsTest, GoldenModelsKeepTheirAnswersOnTheFakeDriver) {
  UseFakeDriver();
  if (HasFatalFailure()) return;
  CheckGoldenModels();
  EXPECT_GE(checked_, 2);
  EXPECT_GE(divided_, 3 * checked_);
}

TEST_F(DevicePartsTest, DeviceThatFailsLeavesItsPartsToTheCpu) {
  UseFakeDriver();
  if (HasFatalFailure()) return;
  for (const GoldenModel& model : FindGoldenModels()) {
    if (model.name != "digits_w1a1") continue;
    const auto graph = ReadGoldenGraph(model);
    const auto golden = ReadGoldenRows(model);
    ASSERT_TRUE(graph.ok() && golden.ok());
    const auto whole = CreateCpuBackend()->Compile(*graph, {.max_rows = kMaxRows});
    ASSERT_TRUE(whole.ok());
    const auto wanted = RunRows(**whole, golden->inputs, kMaxRows);
    ASSERT_TRUE(wanted.ok());
    for (const char* how : kWays) {
      SCOPED_TRACE(how);
      fake_->fail_call = nullptr;
      const auto divided = Compile(*graph, how);
      ASSERT_TRUE(divided.ok()) << divided.status();
      fake_->fail_after = 2;
      fake_->fail_error = kOutOfResources;
      fake_->fail_call = "clFinish";
      const auto got = RunRows(**divided, golden->inputs, kMaxRows);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(*got == *wanted, true);
    }
    ++checked_;
  }
  EXPECT_EQ(checked_, 1);
}

TEST_F(DevicePartsTest, PartWithWrongAnswersIsRefused) {
  UseFakeDriver();
  if (HasFatalFailure()) return;
  fake_->wrong_results = true;
  for (const GoldenModel& model : FindGoldenModels()) {
    if (model.name != "digits_w1a1") continue;
    const auto graph = ReadGoldenGraph(model);
    ASSERT_TRUE(graph.ok());
    const auto divided = Compile(*graph, "pipeline:opencl,cpu");
    ASSERT_FALSE(divided.ok());
    EXPECT_THAT(std::string(divided.status().message()), HasSubstr("stage 1: "));
    EXPECT_THAT(std::string(divided.status().message()), HasSubstr("wrong result"));
    ++checked_;
  }
  EXPECT_EQ(checked_, 1);
}

#ifdef BITMILL_REAL_DEVICES
TEST_F(DevicePartsTest, GoldenModelsKeepTheirAnswersOnEveryDevice) {
  const auto api = LoadClApi();
  const auto list = api.ok() ? ListClDevices(**api) : api.status();
  if (!list.ok() || list->empty()) {
    ASSERT_EQ(std::getenv("BITMILL_REQUIRE_OPENCL"), nullptr) << "no OpenCL device";
    GTEST_SKIP() << "no OpenCL device here; install the package pocl-opencl-icd to test";
  }
  most_macs_ = 100'000'000;
  for (size_t i = 0; i < list->size(); ++i) {
    SCOPED_TRACE((*list)[i].name);
    OpenClOptions options;
    options.device = absl::StrCat(i);
    options.cache_folder =
        (std::filesystem::temp_directory_path() / absl::StrCat("bitmill-opencl-", getuid()))
            .string();
    Use(*api, options);
    CheckGoldenModels();
  }
  EXPECT_GE(checked_, 2);
  EXPECT_GE(divided_, 3 * checked_);
}
#endif

}  // namespace
}  // namespace bitmill
