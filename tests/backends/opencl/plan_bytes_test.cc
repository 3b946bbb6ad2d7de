// Device plans that were kept compute what they did before; bytes that are no plan are refused.
#include "backends/device/plan_bytes.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "backends/device/plan_writer.h"
#include "model/passes/passes.h"
#include "tests/backends/opencl/golden_models.h"
#include "tests/backends/opencl/host_executable.h"

namespace bitmill {
namespace {

constexpr int64_t kRows = 3;

class PlanBytesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto golden = ReadGoldenCase("digits_w1a1");
    ASSERT_TRUE(golden.ok()) << golden.status();
    rows_ = std::move(golden->rows);
    auto lowered = Lower(golden->graph);
    ASSERT_TRUE(lowered.ok()) << lowered.status();
    lowered_ = *std::move(lowered);
    auto plan = BuildDevicePlan(lowered_, kRows);
    ASSERT_TRUE(plan.ok()) << plan.status();
    plan_ = *std::move(plan);
  }

  std::string Encoded() const {
    auto bytes = EncodePlan({"digits", plan_, 1.5});
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.ok() ? *bytes : "";
  }
  absl::StatusOr<std::vector<RowBytes>> Run(DevicePlan plan, int64_t batch) const {
    return RunRows(*MakeHostExecutable(SignatureOfLowered(lowered_), std::move(plan)), rows_,
                   batch);
  }

  Graph lowered_;
  DevicePlan plan_;
  std::vector<RowBytes> rows_;
};

TEST_F(PlanBytesTest, APlanComputesTheSameAfterwards) {
  const auto kept = DecodePlan(Encoded());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->model, "digits");
  EXPECT_EQ(kept->tune_seconds, 1.5);
  EXPECT_EQ(DescribeDevicePlan(kept->plan, ""), DescribeDevicePlan(plan_, ""));
  const auto before = Run(plan_, kRows), after = Run(kept->plan, kRows);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(*before, *after);
}

TEST_F(PlanBytesTest, APlanCanBePlacedForBatchesOfAnotherSize) {
  const auto before = Run(plan_, kRows);
  ASSERT_TRUE(before.ok()) << before.status();
  for (const int64_t rows : {1, 8}) {
    auto kept = DecodePlan(Encoded());
    ASSERT_TRUE(kept.ok()) << kept.status();
    kept->plan.max_rows = rows;
    ASSERT_TRUE(PlaceBuffers(kept->plan).ok());
    const auto made = BuildDevicePlan(lowered_, rows);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(kept->plan.arena_bytes, made->arena_bytes);
    const auto after = Run(kept->plan, rows);
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ(*before, *after);
  }
}

TEST_F(PlanBytesTest, BytesThatAreCutAreRefused) {
  const std::string bytes = Encoded();
  const size_t step = bytes.size() / 2000 + 1;
  for (size_t length = 0; length < bytes.size(); length += length < 1000 ? 1 : step) {
    EXPECT_TRUE(absl::IsDataLoss(DecodePlan(bytes.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodePlan(bytes + "x").status()));
}

TEST_F(PlanBytesTest, NumbersThatPointOutsideAreRefused) {
  const auto refused = [this](auto change) {
    DevicePlan plan = plan_;
    change(plan);
    const auto bytes = EncodePlan({"digits", std::move(plan), 0.0});
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(absl::IsDataLoss(DecodePlan(*bytes).status()));
  };
  refused([](DevicePlan& plan) { plan.inputs[0].buffer = 1000; });
  refused([](DevicePlan& plan) { plan.steps[0].in = -1; });
  refused([](DevicePlan& plan) { plan.steps[0].out = 1000; });
  refused([](DevicePlan& plan) { plan.buffers[0].offset = plan.arena_bytes; });
  refused([](DevicePlan& plan) { plan.buffers[0].row_bytes = plan.buffers[0].stride + 1; });
  refused([](DevicePlan& plan) { plan.constants.resize(64); });
  refused([](DevicePlan& plan) { plan.max_rows = 0; });
}

TEST_F(PlanBytesTest, APlanThatRefersToItsModelIsNotKept) {
  plan_.steps[0].host = std::make_shared<HostStep>();
  EXPECT_TRUE(absl::IsUnimplemented(EncodePlan({"digits", plan_, 0.0}).status()));
}

}  // namespace
}  // namespace bitmill
