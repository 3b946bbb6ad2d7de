#include "tools/load/answer_judge.h"

#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/inference.pb.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

inference::ModelInferResponse Answer(const std::vector<float>& values, int64_t rows) {
  inference::ModelInferResponse response;
  auto* output = response.add_outputs();
  output->set_name("y");
  output->set_datatype("FP32");
  output->add_shape(rows);
  output->add_shape(static_cast<int64_t>(values.size()) / rows);
  response.add_raw_output_contents()->assign(reinterpret_cast<const char*>(values.data()),
                                             values.size() * sizeof(float));
  return response;
}

TEST(AnswerJudgeTest, TheSameAnswerToTheSameRequestIsFine) {
  AnswerJudge judge;
  inference::ModelInferResponse answer = Answer({1, 2, 3}, 1);
  EXPECT_TRUE(judge.SameAsFirst(0, 5, answer).ok());
  answer.set_id("another id");
  EXPECT_TRUE(judge.SameAsFirst(0, 5, answer).ok());
}

TEST(AnswerJudgeTest, AnotherAnswerToTheSameRequestIsNot) {
  AnswerJudge judge;
  EXPECT_TRUE(judge.SameAsFirst(0, 5, Answer({1, 2, 3}, 1)).ok());
  EXPECT_TRUE(judge.SameAsFirst(0, 6, Answer({9, 2, 3}, 1)).ok()) << "another request";
  EXPECT_TRUE(judge.SameAsFirst(1, 5, Answer({9, 2, 3}, 1)).ok()) << "another model";
  EXPECT_TRUE(absl::IsDataLoss(judge.SameAsFirst(0, 5, Answer({1, 2, 4}, 1))));
  EXPECT_TRUE(absl::IsDataLoss(judge.SameAsFirst(0, 5, Answer({1, 2, 3}, 3))));
}

TEST(CountCorrectTest, ComparesTheLargestOfEachRow) {
  const auto response = Answer({0, 1, 0, 5, 4, 3}, 2);
  EXPECT_EQ(*CountCorrect(response, {1, 0}), 2);
  EXPECT_EQ(*CountCorrect(response, {1, 2}), 1);
  EXPECT_EQ(*CountCorrect(response, {-1, 0}), 1);
}

TEST(CountCorrectTest, AnIntegerOutputIsTheClassItself) {
  inference::ModelInferResponse response;
  auto* output = response.add_outputs();
  output->set_name("class");
  output->set_datatype("INT64");
  output->add_shape(2);
  output->add_shape(1);
  output->mutable_contents()->add_int64_contents(7);
  output->mutable_contents()->add_int64_contents(3);
  EXPECT_EQ(*CountCorrect(response, {7, 7}), 1);
}

TEST(CountCorrectTest, AnswersThatDoNotFitAreErrors) {
  EXPECT_TRUE(absl::IsInvalidArgument(CountCorrect(Answer({1, 2, 3}, 1), {0, 1}).status()));
  EXPECT_FALSE(CountCorrect(inference::ModelInferResponse(), {0}).ok());
  auto broken = Answer({1, 2, 3}, 1);
  broken.mutable_raw_output_contents(0)->pop_back();
  EXPECT_THAT(CountCorrect(broken, {0}).status().message(), HasSubstr("output 'y'"));
  auto absurd = Answer({1, 2, 3}, 1);
  absurd.mutable_outputs(0)->set_shape(0, int64_t{1} << 62);
  EXPECT_FALSE(CountCorrect(absurd, {0}).ok());
}

}  // namespace
}  // namespace bitmill
