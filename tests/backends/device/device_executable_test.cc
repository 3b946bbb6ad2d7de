// Which batches are recorded, and what a batch is computed as. What devices do with them:
// tests/backends/cuda, tests/backends/opencl.
#include "backends/device/device_executable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

DevicePlan PlanOf(int64_t max_rows, size_t steps, int64_t row_macs) {
  DevicePlan plan;
  plan.max_rows = max_rows;
  plan.steps.resize(steps);
  plan.row_macs = row_macs;
  return plan;
}

TEST(DeviceExecutableTest, PowersOfTwoAndTheLargestBatchAreRecorded) {
  EXPECT_THAT(RecordedSizes(PlanOf(1, 3, 1)), ElementsAre(1));
  EXPECT_THAT(RecordedSizes(PlanOf(8, 3, 1)), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(RecordedSizes(PlanOf(100, 3, 1)), ElementsAre(1, 2, 4, 8, 16, 32, 64, 100));
}

TEST(DeviceExecutableTest, PlanWithAHostStepIsNotRecorded) {
  DevicePlan plan = PlanOf(8, 3, 1);
  plan.steps[1].host = std::make_shared<HostStep>();
  EXPECT_THAT(RecordedSizes(plan), IsEmpty());
}

TEST(DeviceExecutableTest, SmallModelsArePaddedToTheNextSize) {
  const DevicePlan plan = PlanOf(100, 10, 100'000);
  const std::vector<int64_t> sizes = RecordedSizes(plan);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 1), 1);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 5), 8);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 65), 100);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 100), 100);
}

// A row is 5 launches' worth: of 10 launches saved, two rows of padding are paid.
TEST(DeviceExecutableTest, LargeModelsArePaddedAsFarAsLaunchesPayForIt) {
  const DevicePlan plan = PlanOf(64, 10, 100'000'000);
  const std::vector<int64_t> sizes = RecordedSizes(plan);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 6), 8);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 5), 0);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 33), 0);
  EXPECT_EQ(RecordedSizeFor(sizes, plan, 64), 64);
}

TEST(DeviceExecutableTest, NothingRecordedNothingPadded) {
  EXPECT_EQ(RecordedSizeFor({}, PlanOf(8, 3, 1), 3), 0);
}

}  // namespace
}  // namespace bitmill
