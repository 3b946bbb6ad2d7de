#include "backends/parallel/parallel_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace bitmill {
namespace {

using testing::HasSubstr;

TEST(ParallelOptionsTest, ModesWithNumbersOrNamesOfBackends) {
  EXPECT_EQ(*ParseParallel(""), ParallelOptions{});
  EXPECT_EQ(*ParseParallel("off"), ParallelOptions{});
  EXPECT_EQ(*ParseParallel("auto"), (ParallelOptions{ParallelMode::kAuto, 0, {}}));
  EXPECT_EQ(*ParseParallel("data:2"), (ParallelOptions{ParallelMode::kData, 2, {}}));
  EXPECT_EQ(*ParseParallel("tensor:16"), (ParallelOptions{ParallelMode::kTensor, 16, {}}));
  EXPECT_EQ(*ParseParallel("pipeline:cpu,opencl"),
            (ParallelOptions{ParallelMode::kPipeline, 2, {"cpu", "opencl"}}));
  EXPECT_EQ(*ParseParallel("data:opencl"), (ParallelOptions{ParallelMode::kData, 1, {"opencl"}}));
}

TEST(ParallelOptionsTest, AnythingElseIsRefusedAndShown) {
  for (const char* text : {"on", "data", "data:", "data:0", "data:17", "data:-1", "rows:2",
                           "data:2:3", "pipeline:cpu,", "pipeline:,cpu", "pipeline:CPU", "auto:2",
                           "off:2", "data:99999999999", "pipeline:cpu cpu", "data:2,2"}) {
    const auto parsed = ParseParallel(text);
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(text));
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("'pipeline:cpu,opencl'"));
  }
  std::string many = "data:cpu";
  for (int i = 0; i < kMostParts; ++i) many += ",cpu";
  EXPECT_FALSE(ParseParallel(many).ok());
}

}  // namespace
}  // namespace bitmill
