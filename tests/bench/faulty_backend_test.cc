#include "bench/analysis/faulty_backend.h"

#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_executable.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kMaxRows = 8;

// Prepares identity models, and remembers the last one that it made.
class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(FakeExecutable*& last) : last_(last) {}
  std::string name() const override { return "fake"; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(const Graph&,
                                                         const CompileOptions&) const override {
    return std::make_unique<Model>(last_);
  }

 private:
  class Model final : public PreparedModel {
   public:
    explicit Model(FakeExecutable*& last) : last_(last) {}
    const Signature& signature() const override { return signature_; }
    absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(const ExecutionLimits&) override {
      auto made = std::make_unique<FakeExecutable>(signature_, kMaxRows);
      last_ = made.get();
      return made;
    }
    absl::Status Save(const std::string&, const PlanSource&) const override {
      return absl::OkStatus();
    }

   private:
    const Signature signature_ = IdentitySignature(DType::kInt8, {1});
    FakeExecutable*& last_;
  };
  FakeExecutable*& last_;
};

class FaultyBackendTest : public testing::Test {
 protected:
  void Make(const Faults& faults) {
    const std::unique_ptr<Backend> backend =
        AddFaults(std::make_unique<FakeBackend>(inner_), faults);
    auto executable = backend->Compile(Graph(), {});
    ASSERT_TRUE(executable.ok());
    executable_ = *std::move(executable);
    context_ = executable_->CreateContext();
  }
  // The answers to so many rows.
  std::vector<int> Run(std::vector<std::byte> values) {
    std::vector<std::byte> answers(values.size());
    std::vector<const std::byte*> in;
    std::vector<std::byte*> out;
    for (size_t i = 0; i < values.size(); ++i) {
      in.push_back(&values[i]);
      out.push_back(&answers[i]);
    }
    const std::byte* const* inputs[] = {in.data()};
    std::byte* const* outputs[] = {out.data()};
    EXPECT_TRUE(
        executable_->Run({static_cast<int64_t>(values.size()), inputs, outputs}, *context_).ok());
    std::vector<int> numbers;
    for (const std::byte answer : answers) numbers.push_back(static_cast<int>(answer));
    return numbers;
  }

  FakeExecutable* inner_ = nullptr;
  std::unique_ptr<Executable> executable_;
  std::unique_ptr<ExecutionContext> context_;
};

TEST_F(FaultyBackendTest, ComputesRowsThatNobodyAskedForAndAnswersTheOthers) {
  Make({.pad_rows = 4});
  EXPECT_THAT(Run({std::byte{1}, std::byte{2}, std::byte{3}}), ElementsAre(1, 2, 3));
  EXPECT_THAT(Run({std::byte{9}}), ElementsAre(9));
  EXPECT_THAT(inner_->batches(), ElementsAre(4, 4));
  EXPECT_EQ(executable_->computed_rows(3), 4);
  EXPECT_EQ(executable_->computed_rows(5), 8);
}

TEST_F(FaultyBackendTest, PadsNoFurtherThanTheModelGoes) {
  Make({.pad_rows = 32});
  EXPECT_EQ(executable_->computed_rows(3), kMaxRows);
  Run({std::byte{1}});
  EXPECT_THAT(inner_->batches(), ElementsAre(kMaxRows));
}

TEST_F(FaultyBackendTest, HoldsTheLockOrIsBusyForAsLongAsAsked) {
  for (const Faults& faults : {Faults{.lock_us = 3000}, Faults{.busy_us = 3000}}) {
    Make(faults);
    const SystemClock clock{};
    const MonotonicNanos begin = clock.Now();
    EXPECT_THAT(Run({std::byte{5}}), ElementsAre(5));
    EXPECT_GE(clock.Now() - begin, 3'000'000);
    EXPECT_THAT(inner_->batches(), ElementsAre(1));
  }
}

}  // namespace
}  // namespace bitmill
