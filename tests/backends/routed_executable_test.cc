// Routing through real executables and the backend "auto", with made-up devices and clocks.
#include "backends/routed_executable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "backends/auto_backend.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_executable.h"

namespace bitmill {
namespace {

using testing::Each;
using testing::HasSubstr;

constexpr int64_t kMilli = 1'000'000, kSecond = 1'000'000'000;
constexpr int64_t kMaxRows = 4;

// Where a backend's executables find how long they take, and whether they fail.
struct Behaviour {
  int64_t batch_ns = kMilli;
  absl::Status status = absl::OkStatus();
  int64_t batches = 0;
};

std::unique_ptr<FakeExecutable> NewExecutable(const std::string& backend, Behaviour& behaviour,
                                              FakeClock& clock) {
  auto executable =
      std::make_unique<FakeExecutable>(IdentitySignature(DType::kFloat32, {1}), kMaxRows);
  executable->backend = backend;
  executable->before_run = [&behaviour, &clock](const BatchRows&) {
    ++behaviour.batches;
    clock.Advance(behaviour.batch_ns);
    return behaviour.status;
  };
  return executable;
}

class FakePrepared final : public PreparedModel {
 public:
  explicit FakePrepared(std::unique_ptr<Executable> executable)
      : signature_(executable->signature()), executable_(std::move(executable)) {}
  const Signature& signature() const override { return signature_; }
  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(const ExecutionLimits&) override {
    return std::move(executable_);
  }
  absl::Status Save(const std::string&, const PlanSource&) const override {
    return absl::OkStatus();
  }

 private:
  const Signature signature_;
  std::unique_ptr<Executable> executable_;
};

// A CPU, and a device beside it.
class FakeBackend final : public Backend {
 public:
  FakeBackend(std::string name, Behaviour& behaviour, FakeClock& clock)
      : name_(std::move(name)), behaviour_(behaviour), clock_(clock) {}
  std::string name() const override { return name_; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(const Graph&,
                                                         const CompileOptions&) const override {
    return std::make_unique<FakePrepared>(NewExecutable(name_, behaviour_, clock_));
  }
  absl::StatusOr<std::unique_ptr<PreparedModel>> PrepareLowered(
      Graph, const CompileOptions& options) const override {
    return Prepare({}, options);
  }
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(const std::string& path, uint32_t,
                                                          const CompileOptions&) const override {
    return absl::NotFoundError(path);
  }
  absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(
      const Graph&, const Executable&, double /*tune_seconds*/) const override {
    if (!refusal.ok()) return refusal;
    return NewExecutable(name_, behaviour_, clock_);
  }

  absl::Status refusal;

 private:
  const std::string name_;
  Behaviour& behaviour_;
  FakeClock& clock_;
};

class AutoBackendTest : public testing::Test {
 protected:
  std::unique_ptr<Executable> Compile(const CompileOptions& options = {}) {
    auto executable = auto_->Compile({}, options);
    EXPECT_TRUE(executable.ok()) << executable.status();
    return *std::move(executable);
  }

  // A batch of three rows; whether the answer is right.
  absl::Status Run(const Executable& executable) {
    const auto context = executable.CreateContext();
    const float in[3] = {1, 2, 3};
    float out[3] = {};
    const std::byte* in_rows[3];
    std::byte* out_rows[3];
    for (int r = 0; r < 3; ++r) {
      in_rows[r] = reinterpret_cast<const std::byte*>(&in[r]);
      out_rows[r] = reinterpret_cast<std::byte*>(&out[r]);
    }
    const std::byte* const* const inputs[] = {in_rows};
    std::byte* const* const outputs[] = {out_rows};
    const absl::Status status = executable.Run({3, inputs, outputs}, *context);
    if (!status.ok()) return status;
    EXPECT_THAT(out, testing::ElementsAre(1, 2, 3));
    return status;
  }

  FakeClock clock_;
  Behaviour cpu_does_{.batch_ns = 4 * kMilli}, device_does_{.batch_ns = kMilli};
  FakeBackend cpu_{"cpu", cpu_does_, clock_}, device_{"opencl", device_does_, clock_};
  const std::unique_ptr<Backend> auto_ = CreateAutoBackend(cpu_, {&device_}, {}, clock_);
};

TEST_F(AutoBackendTest, ModelIsMeasuredAndItsBatchesAreRouted) {
  const auto executable = Compile();
  EXPECT_EQ(executable->backend_name(), "auto");
  ASSERT_NE(executable->router(), nullptr);
  const RouteReport report = executable->router()->Report();
  ASSERT_EQ(report.backends.size(), 2U);
  EXPECT_THAT(report.backends[0].table.ns, Each(4 * kMilli));
  EXPECT_THAT(report.backends[1].table.ns, Each(kMilli));
  EXPECT_THAT(executable->DescribePlan(), HasSubstr("opencl, us"));
  const int64_t before = device_does_.batches;
  EXPECT_TRUE(Run(*executable).ok());
  EXPECT_EQ(device_does_.batches, before + 1);
}

TEST_F(AutoBackendTest, BatchesLeaveADeviceThatSlowsDownAndComeBack) {
  const auto executable = Compile();
  const auto share_of_device = [&](int64_t ns) {
    const int64_t device = device_does_.batches, cpu = cpu_does_.batches;
    for (const MonotonicNanos end = clock_.Now() + ns; clock_.Now() < end;) {
      EXPECT_TRUE(Run(*executable).ok());
    }
    const auto on_device = static_cast<double>(device_does_.batches - device);
    return on_device / (on_device + static_cast<double>(cpu_does_.batches - cpu));
  };
  EXPECT_EQ(share_of_device(kSecond), 1.0);
  device_does_.batch_ns = 10 * kMilli;
  EXPECT_LE(share_of_device(2 * kSecond), 0.05);
  device_does_.batch_ns = kMilli;
  share_of_device(kSecond);
  EXPECT_EQ(share_of_device(kSecond), 1.0);
}

TEST_F(AutoBackendTest, BatchThatADeviceFailsIsComputedByTheCpu) {
  const auto executable = Compile();
  EXPECT_TRUE(Run(*executable).ok());
  device_does_.status = absl::UnavailableError("it is gone");
  EXPECT_TRUE(Run(*executable).ok());
  device_does_.status = absl::OkStatus();
  const int64_t before = device_does_.batches;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(Run(*executable).ok());
  EXPECT_EQ(device_does_.batches, before);
  EXPECT_TRUE(executable->router()->Report().backends[1].failed);
}

TEST_F(AutoBackendTest, WrongInputIsTheCallersMatter) {
  const auto executable = Compile();
  device_does_.status = absl::InvalidArgumentError("an index of -1");
  EXPECT_TRUE(absl::IsInvalidArgument(Run(*executable)));
  EXPECT_FALSE(executable->router()->Report().backends[1].failed);
}

TEST_F(AutoBackendTest, ErrorsOfTheCpuAreReturned) {
  device_does_.batch_ns = 40 * kMilli;
  const auto executable = Compile();
  cpu_does_.status = absl::InternalError("broken");
  EXPECT_TRUE(absl::IsInternal(Run(*executable)));
}

TEST_F(AutoBackendTest, ModelThatTheDeviceDoesNotTakeIsTheCpus) {
  device_.refusal = absl::InternalError("wrong result");
  const auto refused = Compile();
  EXPECT_EQ(refused->backend_name(), "cpu");
  EXPECT_EQ(refused->router(), nullptr);
  EXPECT_TRUE(Run(*refused).ok());

  device_.refusal = absl::OkStatus();
  device_does_.status = absl::UnavailableError("it is gone");
  EXPECT_EQ(Compile()->router(), nullptr);  // it could not be measured
}

// Of two devices the second is the fastest, until it fails; then the first one is.
TEST_F(AutoBackendTest, SeveralDevicesTakePart) {
  Behaviour other_does{.batch_ns = kMilli / 2};
  FakeBackend other("cuda", other_does, clock_);
  const auto both = CreateAutoBackend(cpu_, {&device_, &other}, {}, clock_);
  const auto executable = both->Compile({}, {.max_rows = 3});
  ASSERT_TRUE(executable.ok()) << executable.status();
  ASSERT_EQ((*executable)->router()->Report().backends.size(), 3U);
  const int64_t first = device_does_.batches, second = other_does.batches;
  EXPECT_TRUE(Run(**executable).ok());
  EXPECT_EQ(other_does.batches, second + 1);
  other_does.status = absl::UnavailableError("it is gone");
  EXPECT_TRUE(Run(**executable).ok());
  EXPECT_EQ(device_does_.batches, first + 1);
}

// A device that one model is not on has its own work all the same, and the other one its own.
TEST_F(AutoBackendTest, DeviceThatDoesNotTakeAModelLeavesItToTheOthers) {
  Behaviour other_does{.batch_ns = 700'000};
  FakeBackend other("cuda", other_does, clock_);
  const auto both = CreateAutoBackend(cpu_, {&device_, &other}, {}, clock_);
  device_.refusal = absl::InternalError("wrong result");
  const auto without = both->Compile({}, {.max_rows = 3});
  ASSERT_TRUE(without.ok()) << without.status();
  const RouteReport report = (*without)->router()->Report();
  ASSERT_EQ(report.backends.size(), 2U);
  EXPECT_EQ(report.backends[1].table.backend, "cuda");
  device_.refusal = absl::OkStatus();
  const auto with = both->Compile({}, {.max_rows = 3});
  ASSERT_TRUE(with.ok()) << with.status();
  // What the first model has the second device do, the second model sees there.
  RoutedBatch busy, next;
  (*without)->router()->Route(3, busy);
  EXPECT_EQ(busy.backend, 1U);
  (*with)->router()->Route(3, next);
  EXPECT_EQ(next.backend, 1U) << "the device that is free, not the one that is fastest";
  (*without)->router()->Drop(busy);
  (*with)->router()->Drop(next);
}

TEST_F(AutoBackendTest, PrecisionOfTheCpuAloneIsTheCpus) {
  CompileOptions options;
  options.precision = Precision::kBf16;
  EXPECT_EQ(Compile(options)->router(), nullptr);
  EXPECT_TRUE(absl::IsNotFound(auto_->OpenPlan("a.plan", 0, options).status()));
  options.precision = Precision::kExact;
  EXPECT_TRUE(absl::IsUnimplemented(auto_->OpenPlan("a.plan", 0, options).status()));
}

TEST_F(AutoBackendTest, WithoutADeviceItIsTheCpuWithItsPlanFiles) {
  const auto alone = CreateAutoBackend(cpu_, {}, {}, clock_);
  EXPECT_EQ(alone->name(), "auto");
  EXPECT_TRUE(absl::IsNotFound(alone->OpenPlan("a.plan", 0, {}).status()));
  const auto executable = alone->Compile({}, {});
  ASSERT_TRUE(executable.ok()) << executable.status();
  EXPECT_EQ((*executable)->backend_name(), "cpu");
  EXPECT_EQ((*executable)->router(), nullptr);
  EXPECT_EQ(cpu_does_.batches, 0);
}

}  // namespace
}  // namespace bitmill
