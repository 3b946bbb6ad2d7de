// What goes wrong with CUDA drivers and devices, by a driver that fails where it is told to
// (fake_cuda.h): a line that says so, never a crash, and no batch is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "backends/auto_backend.h"
#include "backends/batch_router.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_devices.h"
#include "base/clock.h"
#include "tests/backends/cuda/fake_driver.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CudaFaultTest : public FakeCudaTest {
 protected:
  void SetUp() override {
    FakeCudaTest::SetUp();
    if (HasFatalFailure()) return;
    auto golden = ReadGoldenCase("digits_w1a1");
    ASSERT_TRUE(golden.ok()) << golden.status();
    graph_ = std::move(golden->graph);
    rows_ = std::move(golden->rows);
    const auto cpu = cpu_->Compile(graph_, {.max_rows = 4});
    ASSERT_TRUE(cpu.ok()) << cpu.status();
    const auto wanted = RunRows(**cpu, rows_, 4);
    ASSERT_TRUE(wanted.ok()) << wanted.status();
    wanted_ = *wanted;
  }

  absl::StatusOr<std::unique_ptr<Executable>> Compile() {
    auto backend = OpenBackend(*cpu_);
    if (!backend.ok()) return backend.status();
    return (*backend)->Compile(graph_, {.max_rows = 4});
  }

  void ExpectRightAnswers(const Executable& executable) {
    const auto got = RunRows(executable, rows_, 4);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(*got, wanted_);
  }

  const std::unique_ptr<Backend> cpu_ = CreateCpuBackend();
  Graph graph_;
  std::vector<RowBytes> rows_, wanted_;
};

TEST_F(CudaFaultTest, WithoutFaultsTheModelGivesTheBitsOfTheCpu) {
  const auto executable = Compile();
  ASSERT_TRUE(executable.ok()) << executable.status();
  ExpectRightAnswers(**executable);
  EXPECT_EQ((*executable)->backend_name(), "cuda");
  EXPECT_THAT((*executable)->DescribePlan(), HasSubstr("CUDA device Fake GPU A (9.0)"));
}

TEST_F(CudaFaultTest, AbsentDriverIsNamed) {
  const auto api = LoadCudaApi("libno-such-cuda.so.1");
  EXPECT_TRUE(absl::IsNotFound(api.status()));
  EXPECT_THAT(std::string(api.status().message()),
              AllOf(HasSubstr("no CUDA driver"), HasSubstr("libno-such-cuda.so.1")));
}

TEST_F(CudaFaultTest, LibraryThatIsNoDriverIsRefused) {
  const auto api = LoadCudaApi("libz.so.1");
  EXPECT_TRUE(absl::IsFailedPrecondition(api.status())) << api.status();
}

TEST_F(CudaFaultTest, DriverWithoutADeviceSaysSo) {
  fake_->devices = 0;
  const auto api = LoadCudaApi(FakeCudaLibrary());
  EXPECT_TRUE(absl::IsNotFound(api.status()));
  EXPECT_THAT(std::string(api.status().message()), HasSubstr("CUDA_ERROR_NO_DEVICE"));
  EXPECT_TRUE(absl::IsNotFound(ListCudaDevices(*api_).status()));
}

TEST_F(CudaFaultTest, DevicesAreChosenByNumberAndByPartOfTheName) {
  fake_->devices = 2;
  const auto devices = ListCudaDevices(*api_);
  ASSERT_TRUE(devices.ok()) << devices.status();
  ASSERT_EQ(devices->size(), 2U);
  EXPECT_EQ((*devices)[0].capability_text(), "9.0");
  EXPECT_EQ((*devices)[0].memory_bytes_per_s, 128'000'000'000);
  EXPECT_EQ(ChooseCudaDevice(*devices, "")->name, "Fake GPU A");
  EXPECT_EQ(ChooseCudaDevice(*devices, "1")->name, "Fake GPU B");
  EXPECT_EQ(ChooseCudaDevice(*devices, "gpu b")->number, 1);
  const auto none = ChooseCudaDevice(*devices, "2");
  EXPECT_TRUE(absl::IsNotFound(none.status()));
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("0: Fake GPU A, 1: Fake GPU B"));
}

TEST_F(CudaFaultTest, DeviceThatIsTooOldIsRefused) {
  fake_->capability = 75;
  const auto executable = Compile();
  EXPECT_TRUE(absl::IsFailedPrecondition(executable.status()));
  EXPECT_THAT(std::string(executable.status().message()),
              AllOf(HasSubstr("Fake GPU A"), HasSubstr("compute capability 7.5, 8.0 or newer")));
}

TEST_F(CudaFaultTest, DeviceThatIsProhibitedIsRefused) {
  fake_->compute_mode = 2;
  EXPECT_THAT(std::string(Compile().status().message()), HasSubstr("prohibited"));
}

TEST_F(CudaFaultTest, ProgramWithoutKernelsSaysSo) {
  const auto backend = CreateCudaBackend(api_, "", {}, *cpu_);
  EXPECT_TRUE(absl::IsFailedPrecondition(backend.status()));
  EXPECT_THAT(std::string(backend.status().message()), HasSubstr("without CUDA kernels"));
}

TEST_F(CudaFaultTest, KernelsThatTheDriverDoesNotTakeNameItsVersion) {
  const auto backend = CreateCudaBackend(api_, "no fat binary", {}, *cpu_);
  EXPECT_TRUE(absl::IsFailedPrecondition(backend.status()));
  EXPECT_THAT(std::string(backend.status().message()),
              AllOf(HasSubstr("CUDA_ERROR_INVALID_IMAGE"), HasSubstr("CUDA 13.0"),
                    HasSubstr("Fake GPU A (9.0)")));
}

TEST_F(CudaFaultTest, CanaryCatchesWrongResults) {
  fake_->wrong_results = true;
  const auto executable = Compile();
  EXPECT_TRUE(absl::IsInternal(executable.status())) << executable.status();
  EXPECT_THAT(std::string(executable.status().message()),
              AllOf(HasSubstr("wrong result"), HasSubstr("Fake GPU A")));
}

// Out of memory at the first allocation, at the second, and so on, until there is enough.
class CudaMemoryTest : public CudaFaultTest, public testing::WithParamInterface<const char*> {};

TEST_P(CudaMemoryTest, WantOfMemoryIsResourceExhaustedOrLeftToTheCpu) {
  bool failed = false, succeeded = false;
  for (int after = 0; after < 12; ++after) {
    SCOPED_TRACE(after);
    FailOn(GetParam(), 2, after);
    const auto executable = Compile();
    if (!executable.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(executable.status())) << executable.status();
      failed = true;
      continue;
    }
    // Whatever the context of this run cannot have, the answers are right.
    ExpectRightAnswers(**executable);
    succeeded = true;
  }
  EXPECT_TRUE(failed || std::string(GetParam()) == "cuGraphInstantiateWithFlags");
  EXPECT_TRUE(succeeded);
}

INSTANTIATE_TEST_SUITE_P(Calls, CudaMemoryTest,
                         testing::Values("cuDevicePrimaryCtxRetain", "cuModuleLoadData",
                                         "cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreate",
                                         "cuGraphInstantiateWithFlags"),
                         [](const testing::TestParamInfo<const char*>& param) {
                           return std::string(param.param);
                         });

class CudaGraphlessTest : public CudaFaultTest, public testing::WithParamInterface<const char*> {};

TEST_P(CudaGraphlessTest, BatchesAreLaunchedKernelByKernel) {
  FailOn(GetParam(), 900);
  const auto executable = Compile();
  ASSERT_TRUE(executable.ok()) << executable.status();
  fake_->launches = 0;
  ExpectRightAnswers(**executable);
  EXPECT_EQ(fake_->graph_launches, 0);
  EXPECT_GT(fake_->launches, 0);
  EXPECT_EQ((*executable)->backend_name(), "cuda");
  EXPECT_EQ((*executable)->computed_rows(3), 3);
  EXPECT_THAT((*executable)->DescribePlan(), testing::Not(HasSubstr("at once")));
}

INSTANTIATE_TEST_SUITE_P(Calls, CudaGraphlessTest,
                         testing::Values("cuStreamBeginCapture_v2", "cuStreamEndCapture",
                                         "cuGraphInstantiateWithFlags"),
                         [](const testing::TestParamInfo<const char*>& param) {
                           return std::string(param.param);
                         });

TEST_F(CudaFaultTest, DriverWithoutGraphsLaunchesKernelByKernel) {
  auto api = std::make_shared<CudaApi>(*api_);
  api->GraphLaunch = nullptr;
  const auto backend = CreateCudaBackend(api, kFakeCudaImage, {}, *cpu_);
  ASSERT_TRUE(backend.ok()) << backend.status();
  const auto executable = (*backend)->Compile(graph_, {.max_rows = 4});
  ASSERT_TRUE(executable.ok()) << executable.status();
  ExpectRightAnswers(**executable);
  EXPECT_EQ(fake_->graph_launches, 0);
  EXPECT_EQ((*executable)->backend_name(), "cuda");
}

// With graphs, and without them.
class CudaLostDeviceTest : public CudaFaultTest, public testing::WithParamInterface<const char*> {};

TEST_P(CudaLostDeviceTest, BatchesGoOnOnTheCpu) {
  const auto executable = Compile();
  ASSERT_TRUE(executable.ok()) << executable.status();
  fake_->fail_all = true;  // as of a context that an error has broken
  FailOn(GetParam(), 719, 2);
  ExpectRightAnswers(**executable);
  EXPECT_THAT((*executable)->DescribePlan(), HasSubstr("the device has failed"));
  EXPECT_EQ((*executable)->backend_name(), "cpu");
  // The device is left alone from then on.
  fake_->launches = 0;
  ExpectRightAnswers(**executable);
  EXPECT_EQ(fake_->launches, 0);
}

INSTANTIATE_TEST_SUITE_P(Calls, CudaLostDeviceTest,
                         testing::Values("cuStreamSynchronize", "cuGraphLaunch", "cuCtxSetCurrent"),
                         [](const testing::TestParamInfo<const char*>& param) {
                           return std::string(param.param);
                         });

class CudaLostGraphlessDeviceTest : public CudaFaultTest,
                                    public testing::WithParamInterface<const char*> {};

TEST_P(CudaLostGraphlessDeviceTest, BatchesGoOnOnTheCpu) {
  auto api = std::make_shared<CudaApi>(*api_);
  api->GraphLaunch = nullptr;
  const auto backend = CreateCudaBackend(api, kFakeCudaImage, {}, *cpu_);
  ASSERT_TRUE(backend.ok()) << backend.status();
  const auto executable = (*backend)->Compile(graph_, {.max_rows = 4});
  ASSERT_TRUE(executable.ok()) << executable.status();
  fake_->fail_all = true;
  FailOn(GetParam(), 700, 2);
  ExpectRightAnswers(**executable);
  EXPECT_THAT((*executable)->DescribePlan(), HasSubstr("the device has failed"));
}

INSTANTIATE_TEST_SUITE_P(Calls, CudaLostGraphlessDeviceTest,
                         testing::Values("cuStreamSynchronize", "cuLaunchKernel",
                                         "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"),
                         [](const testing::TestParamInfo<const char*>& param) {
                           return std::string(param.param);
                         });

// A clock of which each reading is a microsecond later: nothing takes no time.
class TickingClock final : public Clock {
 public:
  MonotonicNanos Now() const override {
    clock_.Advance(1000);
    return clock_.Now();
  }
  int64_t UnixMillis() const override { return clock_.UnixMillis(); }

 private:
  mutable FakeClock clock_;
};

TEST_F(CudaFaultTest, RoutedModelLosesNoBatchWithItsDevice) {
  const TickingClock clock{};
  auto device = OpenBackend(*cpu_);
  ASSERT_TRUE(device.ok()) << device.status();
  const auto routing = CreateAutoBackend(*cpu_, {device->get()}, {}, clock);
  const auto executable = routing->Compile(graph_, {.max_rows = 4});
  ASSERT_TRUE(executable.ok()) << executable.status();
  ASSERT_NE((*executable)->router(), nullptr);
  RoutedBatch occupied;  // makes the CPU look busy, so that what comes next goes to the device
  (*executable)->router()->Route(4, occupied);
  ASSERT_EQ(occupied.backend, 0U);
  fake_->fail_all = true;
  FailOn("cuStreamSynchronize", 719, 1);
  ExpectRightAnswers(**executable);
  EXPECT_TRUE((*executable)->router()->Report().backends[1].failed);
  (*executable)->router()->Drop(occupied);
}

}  // namespace
}  // namespace bitmill
