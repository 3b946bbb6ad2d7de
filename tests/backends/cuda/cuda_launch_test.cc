#include "backends/cuda/cuda_launch.h"

#include <gtest/gtest.h>

namespace bitmill {
namespace {

DeviceStep StepOfItems(int32_t items, int32_t group_items = 0) {
  DeviceStep step;
  step[device::kItems] = items;
  step.group_items = group_items;
  return step;
}

// 7 x 9 pixels, `outputs` outputs.
DeviceStep StepOfTiles(const DeviceTiles& tiles, int32_t outputs) {
  DeviceStep step = StepOfItems(1000);
  step.tiles = tiles;
  step[device::kOutHeight] = 7;
  step[device::kOutWidth] = 9;
  step[device::kOutChannels] = outputs;
  return step;
}

TEST(CudaLaunchTest, ItemsAreThreadsOfLinesAndRowsLieInZ) {
  const auto launch = CudaLaunchOf(StepOfItems(257), 5);
  ASSERT_TRUE(launch.ok()) << launch.status();
  EXPECT_EQ(*launch, (CudaLaunch{2, 1, 5, 256, 0}));
}

TEST(CudaLaunchTest, PlanNamesTheSizeOfGroups) {
  const auto launch = CudaLaunchOf(StepOfItems(65, 32), 1);
  ASSERT_TRUE(launch.ok()) << launch.status();
  EXPECT_EQ(*launch, (CudaLaunch{3, 1, 1, 32, 0}));
}

TEST(CudaLaunchTest, TilesCoverThePixelsOfAllRowsAndTheOutputs) {
  const DeviceTiles tiles{.pixels = 64, .outputs = 128, .threads = 192, .shared_bytes = 50000};
  const auto launch = CudaLaunchOf(StepOfTiles(tiles, 129), 3);  // 189 pixels
  ASSERT_TRUE(launch.ok()) << launch.status();
  EXPECT_EQ(*launch, (CudaLaunch{3, 2, 1, 192, 50000}));
}

TEST(CudaLaunchTest, FewRowsHaveTilesOfTheirOwn) {
  DeviceStep step = StepOfTiles({.pixels = 32, .outputs = 64, .threads = 128}, 10);
  step[device::kOutHeight] = step[device::kOutWidth] = 1;
  step[device::kOutOctets] = 8;  // a word of bits
  step.kernel = "tiles";
  step.few_kernel = "few";
  step.few_tiles = {.pixels = 4, .outputs = 8, .threads = 128, .shared_bytes = 512};
  const auto few = CudaLaunchOf(step, 4), more = CudaLaunchOf(step, 5);
  ASSERT_TRUE(few.ok() && more.ok());
  EXPECT_EQ(*few, (CudaLaunch{1, 8, 1, 128, 512}));
  EXPECT_EQ(*more, (CudaLaunch{1, 1, 1, 128, 0}));
  EXPECT_EQ(step.kernel_of(4), "few");
  EXPECT_EQ(step.kernel_of(5), "tiles");
}

TEST(CudaLaunchTest, MoreRowsThanAGridHasAreRefused) {
  EXPECT_TRUE(CudaLaunchOf(StepOfItems(1), 65535).ok());
  const auto launch = CudaLaunchOf(StepOfItems(1), 65536);
  EXPECT_TRUE(absl::IsUnimplemented(launch.status())) << launch.status();
}

}  // namespace
}  // namespace bitmill
