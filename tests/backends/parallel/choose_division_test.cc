#include "backends/parallel/choose_division.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace bitmill {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr ParallelMode kData = ParallelMode::kData, kTensor = ParallelMode::kTensor,
                       kPipeline = ParallelMode::kPipeline;

TEST(ChooseDivisionTest, TakesTheOneThatGainsMostOfThoseThatKeepBothBounds) {
  const std::vector<TriedDivision> tried = {
      {kData, 2, 1.2, 1.0}, {kTensor, 2, 1.9, 0.94}, {kPipeline, 2, 1.4, 0.95}};
  EXPECT_EQ(BestDivision(tried), 2U);
  EXPECT_THAT(DescribeTried(tried, 32),
              AllOf(HasSubstr("is divided, pipeline:2"),
                    HasSubstr("tensor:2 1.90 times, one row 0.94 times (too little)"),
                    HasSubstr("pipeline:2 1.40 times, one row 0.95 times")));
}

TEST(ChooseDivisionTest, SaysWhichBoundWasMissed) {
  const std::vector<TriedDivision> tried = {{kData, 2, 1.09, 1.0}, {kTensor, 2, 1.3, 0.5}};
  EXPECT_EQ(BestDivision(tried), std::nullopt);
  EXPECT_EQ(DescribeTried(tried, 32),
            "is not divided: asked for are 32 rows at least 1.10 times as fast as whole, and one "
            "row at least 0.95 times; measured data:2 1.09 times (too little), one row 1.00 times; "
            "tensor:2 1.30 times, one row 0.50 times (too little)");
}

TEST(ChooseDivisionTest, OfEqualOnesTheFirst) {
  EXPECT_EQ(BestDivision(std::vector<TriedDivision>{{kTensor, 2, 1.5, 1}, {kPipeline, 2, 1.5, 1}}),
            0U);
}

TEST(ChooseDivisionTest, WhereNothingCouldBeTriedThatIsSaid) {
  EXPECT_EQ(BestDivision({}), std::nullopt);
  EXPECT_THAT(DescribeTried({}, 1), HasSubstr("there is no way to divide it"));
}

}  // namespace
}  // namespace bitmill
