// What goes wrong with drivers, by a driver that fails where it is told to (fake_opencl.h): a line
// that says so, never a crash, and no batch is lost.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/auto_backend.h"
#include "backends/batch_router.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/opencl_backend.h"
#include "base/file.h"
#include "tests/backends/opencl/fake_opencl.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Values of CL/cl.h.
constexpr int32_t kNotAvailable = -2, kOutOfMemory = -4, kOutOfResources = -5, kBuildFailure = -11;

class OpenClFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto api = LoadClApi(BITMILL_FAKE_OPENCL);
    ASSERT_TRUE(api.ok()) << api.status();
    api_ = *api;
    void* const library = dlopen(BITMILL_FAKE_OPENCL, RTLD_NOW | RTLD_NOLOAD);
    ASSERT_NE(library, nullptr);
    const auto control = reinterpret_cast<FakeOpenCl* (*)()>(dlsym(library, "FakeOpenClControl"));
    ASSERT_NE(control, nullptr);
    fake_ = control();
    *fake_ = {nullptr, 0, 0, false, 1, 0, 0};
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("opencl_faults_", getpid());
    fs::remove_all(folder_);
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
  void TearDown() override { fs::remove_all(folder_); }

  void FailOn(const char* call, int32_t error, int after = 0) {
    fake_->fail_call = call;
    fake_->fail_error = error;
    fake_->fail_after = after;
  }

  absl::StatusOr<std::unique_ptr<Executable>> Compile(const std::string& cache = "") {
    OpenClOptions options;
    options.cache_folder = cache;
    auto backend = CreateOpenClBackend(api_, options, *cpu_);
    if (!backend.ok()) return backend.status();
    return (*backend)->Compile(graph_, {.max_rows = 4});
  }

  std::shared_ptr<const ClApi> api_;
  FakeOpenCl* fake_ = nullptr;
  const std::unique_ptr<Backend> cpu_ = CreateCpuBackend();
  Graph graph_;
  std::vector<RowBytes> rows_, wanted_;
  fs::path folder_;
};

TEST_F(OpenClFaultTest, WithoutFaultsTheModelGivesTheBitsOfTheCpu) {
  const auto executable = Compile();
  ASSERT_TRUE(executable.ok()) << executable.status();
  const auto got = RunRows(**executable, rows_, 4);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, wanted_);
  EXPECT_THAT((*executable)->DescribePlan(), HasSubstr("Fake device"));
}

// Every command of the fake driver has the same times: only the first one waits.
TEST_F(OpenClFaultTest, WaitsAreSplitWhereTheDriverHandsACommandOver) {
  const auto executable = Compile();
  ASSERT_TRUE(executable.ok()) << executable.status();
  const std::vector<Operation> operations = (*executable)->operations();
  std::vector<int64_t> ns(operations.size(), 0);
  OperationTimes times{absl::MakeSpan(ns), 0};
  std::vector<std::byte> output(wanted_[0][0].size());
  const std::byte* input_row = rows_[0][0].data();
  std::byte* output_row = output.data();
  const std::byte* const* input_port = &input_row;
  std::byte* const* output_port = &output_row;
  const auto context = (*executable)->CreateContext();
  ASSERT_TRUE(
      (*executable)
          ->RunTimed({1, absl::MakeConstSpan(&input_port, 1), absl::MakeConstSpan(&output_port, 1)},
                     *context, times)
          .ok());
  for (size_t i = 0; i + 2 < ns.size(); ++i) EXPECT_EQ(ns[i], 10) << operations[i].name;
  EXPECT_EQ(operations[ns.size() - 2].name, "device queued");
  EXPECT_EQ(ns[ns.size() - 2], 2);
  EXPECT_EQ(operations[ns.size() - 1].name, "device submitted");
  EXPECT_EQ(ns[ns.size() - 1], 3);
}

TEST_F(OpenClFaultTest, AbsentLoaderIsNamed) {
  const auto api = LoadClApi("libno-such-opencl.so.1");
  EXPECT_TRUE(absl::IsNotFound(api.status()));
  EXPECT_THAT(std::string(api.status().message()), HasSubstr("libno-such-opencl.so.1"));
}

TEST_F(OpenClFaultTest, LibraryThatIsNoLoaderIsRefused) {
  const auto api = LoadClApi("libz.so.1");
  EXPECT_TRUE(absl::IsFailedPrecondition(api.status())) << api.status();
}

TEST_F(OpenClFaultTest, LoaderWithoutDriversSaysWhatToInstall) {
  fake_->platforms = 0;
  const auto devices = ListClDevices(*api_);
  EXPECT_TRUE(absl::IsNotFound(devices.status()));
  EXPECT_THAT(std::string(devices.status().message()), HasSubstr("pocl-opencl-icd"));
}

TEST_F(OpenClFaultTest, DevicesAreChosenByNumberAndByPartOfTheName) {
  const auto devices = ListClDevices(*api_);
  ASSERT_TRUE(devices.ok()) << devices.status();
  ASSERT_EQ(devices->size(), 1U);
  EXPECT_TRUE(ChooseClDevice(*devices, "0").ok());
  EXPECT_TRUE(ChooseClDevice(*devices, "fake DEV").ok());
  EXPECT_TRUE(ChooseClDevice(*devices, "").ok());
  const auto none = ChooseClDevice(*devices, "1");
  EXPECT_TRUE(absl::IsNotFound(none.status()));
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("0: Fake device"));
}

TEST_F(OpenClFaultTest, CompileFailureCarriesTheCompilersWords) {
  FailOn("clBuildProgram", kBuildFailure);
  const auto executable = Compile();
  EXPECT_TRUE(absl::IsFailedPrecondition(executable.status()));
  EXPECT_THAT(std::string(executable.status().message()),
              testing::AllOf(HasSubstr("CL_BUILD_PROGRAM_FAILURE"), HasSubstr("Fake device"),
                             HasSubstr("error: fake compiler")));
}

TEST_F(OpenClFaultTest, WantOfMemoryIsResourceExhausted) {
  FailOn("clCreateBuffer", kOutOfMemory);
  const auto executable = Compile();
  EXPECT_TRUE(absl::IsResourceExhausted(executable.status())) << executable.status();
}

TEST_F(OpenClFaultTest, CanaryCatchesWrongResults) {
  fake_->wrong_results = true;
  const auto executable = Compile();
  EXPECT_TRUE(absl::IsInternal(executable.status())) << executable.status();
  EXPECT_THAT(std::string(executable.status().message()),
              testing::AllOf(HasSubstr("wrong result"), HasSubstr("Fake device")));
}

class OpenClLostDeviceTest : public OpenClFaultTest,
                             public testing::WithParamInterface<const char*> {};

TEST_P(OpenClLostDeviceTest, BatchesGoOnOnTheCpu) {
  const auto executable = Compile();
  ASSERT_TRUE(executable.ok()) << executable.status();
  FailOn(GetParam(), std::string(GetParam()) == "clFinish" ? kNotAvailable : kOutOfResources, 2);
  const auto got = RunRows(**executable, rows_, 4);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, wanted_);
  EXPECT_THAT((*executable)->DescribePlan(), HasSubstr("the device has failed"));
  // The device is left alone from then on.
  fake_->fail_call = nullptr;
  fake_->wrong_results = true;
  const auto again = RunRows(**executable, rows_, 4);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, wanted_);
}

INSTANTIATE_TEST_SUITE_P(Calls, OpenClLostDeviceTest,
                         testing::Values("clFinish", "clEnqueueNDRangeKernel",
                                         "clEnqueueReadBuffer", "clEnqueueWriteBuffer"),
                         [](const testing::TestParamInfo<const char*>& param) {
                           return std::string(param.param);
                         });

TEST_F(OpenClFaultTest, ContextThatCannotBeMadeRunsOnTheCpu) {
  const auto executable = Compile();
  ASSERT_TRUE(executable.ok()) << executable.status();
  FailOn("clCreateCommandQueue", kOutOfMemory);
  const auto got = RunRows(**executable, rows_, 4);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, wanted_);
}

TEST_F(OpenClFaultTest, ProgramIsTakenFromTheCache) {
  ASSERT_TRUE(Compile(folder_).ok());
  EXPECT_EQ(fake_->programs_built, 1);
  ASSERT_TRUE(Compile(folder_).ok());
  EXPECT_EQ(fake_->programs_built, 1);
  EXPECT_EQ(fake_->programs_loaded, 1);
}

fs::path OnlyFile(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) return entry.path();
  return {};
}

TEST_F(OpenClFaultTest, CacheIsForItsOwnerAlone) {
  ASSERT_TRUE(Compile(folder_).ok());
  struct stat folder {
  }, file{};
  ASSERT_EQ(stat(folder_.c_str(), &folder), 0);
  ASSERT_EQ(stat(OnlyFile(folder_).c_str(), &file), 0);
  EXPECT_EQ(folder.st_mode & 0777, 0700U);
  EXPECT_EQ(file.st_mode & 0777, 0600U);
}

TEST_F(OpenClFaultTest, DamagedCacheIsCompiledAnew) {
  ASSERT_TRUE(Compile(folder_).ok());
  const std::string path = OnlyFile(folder_);
  auto bytes = ReadFile(path);
  ASSERT_TRUE(bytes.ok());
  for (const size_t at : {size_t{0}, bytes->size() / 2, bytes->size() - 1}) {
    std::string damaged = *bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    fs::remove(path);
    ASSERT_TRUE(WriteFileAtomically(path, damaged).ok());
    fake_->programs_built = fake_->programs_loaded = 0;
    ASSERT_TRUE(Compile(folder_).ok()) << at;
    EXPECT_EQ(fake_->programs_built, 1) << at;
    EXPECT_EQ(fake_->programs_loaded, 0) << at;
  }
  // It was replaced by a whole one.
  fake_->programs_built = 0;
  ASSERT_TRUE(Compile(folder_).ok());
  EXPECT_EQ(fake_->programs_built, 0);
}

TEST_F(OpenClFaultTest, CacheThatOthersCouldWriteIsNotUsed) {
  ASSERT_TRUE(Compile(folder_).ok());
  ASSERT_EQ(chmod(OnlyFile(folder_).c_str(), 0666), 0);
  fake_->programs_built = 0;
  ASSERT_TRUE(Compile(folder_).ok());
  EXPECT_EQ(fake_->programs_built, 1);
}

TEST_F(OpenClFaultTest, CacheInAFolderThatOthersCouldWriteIsNotUsed) {
  ASSERT_TRUE(Compile(folder_).ok());
  ASSERT_EQ(chmod(folder_.c_str(), 0777), 0);
  fake_->programs_built = 0;
  ASSERT_TRUE(Compile(folder_).ok());
  EXPECT_EQ(fake_->programs_built, 1);
}

TEST_F(OpenClFaultTest, BinaryThatTheDriverRefusesIsCompiledAnew) {
  ASSERT_TRUE(Compile(folder_).ok());
  FailOn("clCreateProgramWithBinary", -42);  // CL_INVALID_BINARY
  fake_->programs_built = 0;
  ASSERT_TRUE(Compile(folder_).ok());
  EXPECT_EQ(fake_->programs_built, 1);
}

TEST_F(OpenClFaultTest, CacheThatCannotBeWrittenIsDoneWithout) {
  EXPECT_TRUE(Compile("/proc/no-such-folder").ok());
}

// A clock of which each reading is a microsecond later, so that nothing takes no time, and which
// backend is faster is known: the order of readings is the same in every run.
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

// The model on both, of which each is as fast, so that batches that come together share them.
class OpenClRoutedTest : public OpenClFaultTest {
 protected:
  std::unique_ptr<Executable> CompileRouted() {
    auto device = CreateOpenClBackend(api_, {}, *cpu_);
    EXPECT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
    auto_ = CreateAutoBackend(*cpu_, {device_.get()}, {}, clock_);
    auto executable = auto_->Compile(graph_, {.max_rows = 4});
    EXPECT_TRUE(executable.ok()) << executable.status();
    return *std::move(executable);
  }
  // Makes the CPU look busy, so that what comes next goes to the device.
  void OccupyCpu(const Executable& executable) {
    executable.router()->Route(4, occupied_);
    ASSERT_EQ(occupied_.backend, 0U);
  }

  const TickingClock clock_{};
  std::unique_ptr<Backend> device_, auto_;
  RoutedBatch occupied_;
};

TEST_F(OpenClRoutedTest, DeviceGivesTheBitsOfTheCpu) {
  const auto executable = CompileRouted();
  ASSERT_NE(executable->router(), nullptr);
  OccupyCpu(*executable);
  const auto got = RunRows(*executable, rows_, 4);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, wanted_);
  const auto batches = executable->router()->Report().backends[1].batches;
  EXPECT_GT(batches[static_cast<size_t>(RouteReason::kQueue)], 0);
}

TEST_F(OpenClRoutedTest, LostDeviceLosesNoBatch) {
  const auto executable = CompileRouted();
  OccupyCpu(*executable);
  FailOn("clFinish", kNotAvailable, 1);
  const auto got = RunRows(*executable, rows_, 4);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, wanted_);
  EXPECT_TRUE(executable->router()->Report().backends[1].failed);
}

TEST_F(OpenClRoutedTest, DeviceThatComputesSomethingElseIsNotUsed) {
  fake_->wrong_results = true;
  const auto executable = CompileRouted();
  EXPECT_EQ(executable->router(), nullptr);
  const auto got = RunRows(*executable, rows_, 4);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, wanted_);
}

}  // namespace
}  // namespace bitmill
