#include "tools/client/answer_report.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/client/classes.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Tensor Scores(std::initializer_list<int64_t> shape, std::vector<float> values) {
  return Tensor::Of<float>(DType::kFloat32, shape, values);
}

AnswerReport TwoRows() {
  AnswerReport report;
  report.model = "digits";
  report.rows = 2;
  report.seconds = 0.001;
  report.outputs.push_back({"y", Scores({2, 3}, {0.1F, 0.7F, 0.2F, 0.9F, 0.0F, 0.1F})});
  return report;
}

TEST(ClassifyTest, TheFirstOfEqualScoresWinsAndNanNever) {
  const float nan = std::nanf("");
  EXPECT_THAT(*Classify(Scores({3, 3}, {2, 2, 1, nan, -1, -2, nan, nan, nan}), 3),
              ElementsAre(0, 1, 0));
}

TEST(TopScoresTest, BestFirst) {
  const auto top = TopScores({0.5, std::nan(""), 2.0, 0.5}, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].label, 2);
  EXPECT_EQ(top[1].label, 0);
  EXPECT_EQ(top[2].label, 3);
}

TEST(CompareWithGoldenTest, FindsTheLargestGap) {
  const Tensor output = Scores({2, 2}, {1.0F, 2.0F, 3.0F, 4.5F});
  const Tensor golden = Scores({2, 2}, {1.25F, 2.0F, 3.0F, 4.0F});
  const auto comparison = CompareWithGolden(output, golden, 2, 0.25);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_DOUBLE_EQ(comparison->largest_gap, 0.5);
  EXPECT_EQ(comparison->row, 1);
  EXPECT_EQ(comparison->same_class, 2);
  EXPECT_FALSE(comparison->within());
  EXPECT_TRUE(CompareWithGolden(output, golden, 2, 0.5)->within());
}

TEST(CompareWithGoldenTest, NanNeverPasses) {
  const Tensor output = Scores({1, 2}, {std::nanf(""), 2.0F});
  EXPECT_FALSE(CompareWithGolden(output, Scores({1, 2}, {1.0F, 2.0F}), 1, 1e9)->within());
}

TEST(CompareWithGoldenTest, ShapesMustAgree) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      CompareWithGolden(Scores({1, 2}, {1, 2}), Scores({1, 3}, {1, 2, 3}), 1, 0).status()));
}

TEST(AnswerTableTest, ShowsClassesAndAccuracy) {
  AnswerReport report = TwoRows();
  report.labels = {1, 2};
  const auto text = AnswerTable(report, 2, 0);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("1 (0.7)"));
  EXPECT_THAT(*text, HasSubstr("wrong"));
  EXPECT_THAT(*text, HasSubstr("accuracy 50.00 % (1 of 2)"));
}

TEST(AnswerTableTest, SaysWhenRowsAreLeftOut) {
  const auto text = AnswerTable(TwoRows(), 1, 1);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("1 more rows, --rows 0 shows all"));
}

TEST(AnswerJsonTest, HoldsOutputsAndClasses) {
  AnswerReport report = TwoRows();
  report.labels = {1, -1};
  const auto text = AnswerJson(report);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("\"classes\": [1, 0]"));
  EXPECT_THAT(*text, HasSubstr("\"shape\": [2, 3]"));
  EXPECT_THAT(*text, HasSubstr("\"accuracy\": 1"));
  EXPECT_THAT(*text, Not(HasSubstr("golden")));
}

}  // namespace
}  // namespace bitmill
