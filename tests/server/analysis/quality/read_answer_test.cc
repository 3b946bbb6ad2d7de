#include "server/analysis/quality/read_answer.h"

#include <cmath>
#include <cstring>
#include <string>

#include "base/half.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using Kind = AnswerMeaning::Kind;

template <typename T>
std::vector<std::byte> Bytes(std::initializer_list<T> values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), std::data(values), bytes.size());
  return bytes;
}

AnswerMeaning Meaning(DType dtype, std::vector<int64_t> shape, WatchTask task = WatchTask::kAuto) {
  const TapPort port{"y", dtype, std::move(shape), 0};
  return MeaningOf({&port, 1}, task);
}

TEST(ReadAnswerTest, ReadsEveryType) {
  EXPECT_EQ(ReadElement(DType::kBool, Bytes<uint8_t>({0, 1}).data(), 1), 1);
  EXPECT_EQ(ReadElement(DType::kUInt8, Bytes<uint8_t>({0, 200}).data(), 1), 200);
  EXPECT_EQ(ReadElement(DType::kInt8, Bytes<int8_t>({0, -7}).data(), 1), -7);
  EXPECT_EQ(ReadElement(DType::kUInt16, Bytes<uint16_t>({0, 60'000}).data(), 1), 60'000);
  EXPECT_EQ(ReadElement(DType::kInt16, Bytes<int16_t>({0, -300}).data(), 1), -300);
  EXPECT_EQ(ReadElement(DType::kUInt32, Bytes<uint32_t>({0, 1U << 31}).data(), 1), 2147483648.0F);
  EXPECT_EQ(ReadElement(DType::kInt32, Bytes<int32_t>({0, -5}).data(), 1), -5);
  EXPECT_EQ(ReadElement(DType::kUInt64, Bytes<uint64_t>({0, 9}).data(), 1), 9);
  EXPECT_EQ(ReadElement(DType::kInt64, Bytes<int64_t>({0, -9}).data(), 1), -9);
  EXPECT_EQ(ReadElement(DType::kFloat16, Bytes<uint16_t>({0, FloatToHalf(1.5F)}).data(), 1), 1.5F);
  EXPECT_EQ(ReadElement(DType::kBFloat16, Bytes<uint16_t>({0, FloatToBFloat16(-2)}).data(), 1), -2);
  EXPECT_EQ(ReadElement(DType::kFloat32, Bytes<float>({0, 0.25F}).data(), 1), 0.25F);
  EXPECT_EQ(ReadElement(DType::kFloat64, Bytes<double>({0, 0.5}).data(), 1), 0.5F);
  EXPECT_EQ(ReadElement(DType::kBytes, Bytes<double>({1}).data(), 0), 0);
}

TEST(ReadAnswerTest, TellsClassesFromValues) {
  struct Case {
    DType dtype;
    std::vector<int64_t> shape;
    WatchTask task;
    Kind kind;
    int64_t classes;
  };
  const Case cases[] = {
      {DType::kFloat32, {10}, WatchTask::kAuto, Kind::kScores, 10},
      {DType::kFloat32, {1, 10, 1, 1}, WatchTask::kAuto, Kind::kScores, 10},
      {DType::kFloat32, {21, 64, 64}, WatchTask::kAuto, Kind::kNone, 0},
      {DType::kFloat32, {1}, WatchTask::kAuto, Kind::kValue, 0},
      {DType::kFloat32, {}, WatchTask::kClasses, Kind::kBinary, 2},
      {DType::kInt64, {1}, WatchTask::kAuto, Kind::kIndex, 0},
      {DType::kInt64, {1}, WatchTask::kValue, Kind::kValue, 0},
      {DType::kInt32, {10}, WatchTask::kAuto, Kind::kNone, 0},
      {DType::kInt32, {10}, WatchTask::kClasses, Kind::kScores, 10},
      {DType::kFloat32, {10}, WatchTask::kValue, Kind::kNone, 0},
      {DType::kBytes, {1}, WatchTask::kAuto, Kind::kNone, 0},
  };
  for (const Case& one : cases) {
    const AnswerMeaning meaning = Meaning(one.dtype, one.shape, one.task);
    EXPECT_EQ(meaning.kind, one.kind) << &one - cases;
    EXPECT_EQ(meaning.classes, one.classes) << &one - cases;
  }
  EXPECT_EQ(MeaningOf({}, WatchTask::kAuto).kind, Kind::kNone);
}

TEST(ReadAnswerTest, TakesTheLargestScoreAndItsSoftmax) {
  const AnswerMeaning meaning = Meaning(DType::kFloat32, {3});
  const Prediction logits = ReadPrediction(meaning, Bytes<float>({1, 3, 2}).data());
  EXPECT_EQ(logits.index, 1);
  EXPECT_NEAR(logits.score, 1 / (1 + std::exp(-1.0) + std::exp(-2.0)), 1e-6);
  EXPECT_EQ(ReadPrediction(meaning, Bytes<float>({2, 2, 1}).data()).index, 0);
  const Prediction far = ReadPrediction(meaning, Bytes<float>({-1000, 1000, 0}).data());
  EXPECT_EQ(far.index, 1);
  EXPECT_EQ(far.score, 1);
}

TEST(ReadAnswerTest, TakesProbabilitiesAsTheyAre) {
  const AnswerMeaning meaning = Meaning(DType::kFloat32, {3});
  const Prediction given = ReadPrediction(meaning, Bytes<float>({0.2F, 0.1F, 0.7F}).data());
  EXPECT_EQ(given.index, 2);
  EXPECT_EQ(given.score, 0.7F);
  // A sum that is not 1: logits after all.
  EXPECT_NEAR(ReadPrediction(meaning, Bytes<float>({0, 0, 0.7F}).data()).score,
              1 / (1 + 2 * std::exp(-0.7)), 1e-6);
}

TEST(ReadAnswerTest, ANumberThatIsNoneHasNoScore) {
  const float nan = std::nanf("");
  const AnswerMeaning meaning = Meaning(DType::kFloat32, {3});
  const Prediction some = ReadPrediction(meaning, Bytes<float>({nan, 3, 2}).data());
  EXPECT_EQ(some.index, 1);
  EXPECT_LT(some.score, 0);
  EXPECT_EQ(ReadPrediction(meaning, Bytes<float>({nan, nan, nan}).data()).index, -1);
}

TEST(ReadAnswerTest, ReadsOtherForms) {
  const AnswerMeaning binary = Meaning(DType::kFloat32, {1}, WatchTask::kClasses);
  EXPECT_EQ(ReadPrediction(binary, Bytes<float>({0.5F}).data()).index, 1);
  const Prediction zero = ReadPrediction(binary, Bytes<float>({0.2F}).data());
  EXPECT_EQ(zero.index, 0);
  EXPECT_NEAR(zero.score, 0.8, 1e-6);
  const AnswerMeaning index = Meaning(DType::kInt64, {1});
  EXPECT_EQ(ReadPrediction(index, Bytes<int64_t>({7}).data()).index, 7);
  EXPECT_EQ(ReadPrediction(index, Bytes<int64_t>({-1}).data()).index, -1);
  const AnswerMeaning value = Meaning(DType::kFloat64, {1});
  EXPECT_EQ(ReadPrediction(value, Bytes<double>({0.1}).data()).value, 0.1);
}

}  // namespace
}  // namespace bitmill
