#include "tools/input/model_inputs.h"

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

// 2 images of 28 x 28 with labels, and other data, as the project ships it.
std::string ShippedImages() {
  return absl::StrCat(BITMILL_SOURCE_DIR, "/models/data/fashion_mnist_test_1000.npz");
}

Signature ImageModel() {
  Signature signature;
  signature.batchable = true;
  signature.inputs = {{"x", DType::kFloat32, {1, 28, 28}, 28 * 28 * 4}};
  return signature;
}

std::string TempFile(const std::string& name, const std::string& contents) {
  const std::string path = testing::TempDir() + "/tools_model_inputs_test_" + name;
  EXPECT_TRUE(WriteFileAtomically(path, contents).ok());
  return path;
}

TEST(ModelInputsTest, TakesTheOnlyArrayThatFits) {
  const auto inputs = ReadModelInputs(ImageModel(), {{ShippedImages()}, "labels"});
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ(inputs->rows, 1000);
  EXPECT_EQ(inputs->labels.size(), 1000u);
}

TEST(ModelInputsTest, TakesTheArrayThatIsNamed) {
  EXPECT_TRUE(ReadModelInputs(ImageModel(), {{ShippedImages() + ":images"}, ""}).ok());
  const auto missing = ReadModelInputs(ImageModel(), {{ShippedImages() + ":pictures"}, ""});
  EXPECT_THAT(missing.status().message(), HasSubstr("no array 'pictures'"));
  EXPECT_THAT(missing.status().message(), HasSubstr("'images'"));
}

TEST(ModelInputsTest, RefusesAnInputThatTheModelDoesNotHave) {
  const auto inputs = ReadModelInputs(ImageModel(), {{"z=" + ShippedImages()}, ""});
  EXPECT_THAT(inputs.status().message(), HasSubstr("no input 'z'; it has 'x'"));
}

TEST(ModelInputsTest, SeveralFilesAreRowsOfOneInput) {
  Signature signature;
  signature.inputs = {{"x", DType::kUInt8, {4}, 4}};
  const auto inputs =
      ReadModelInputs(signature, {{TempFile("a.bin", "abcd"), TempFile("b.bin", "efghijkl")}, ""});
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ(inputs->rows, 3);
  EXPECT_EQ(inputs->inputs.front().bytes, "abcdefghijkl");
}

TEST(ModelInputsTest, SeveralInputsNeedEquallyManyRows) {
  Signature signature;
  signature.inputs = {{"a", DType::kUInt8, {4}, 4}, {"b", DType::kUInt8, {4}, 4}};
  const std::string two = TempFile("two.bin", "abcdefgh");
  const std::string three = TempFile("three.bin", "abcdefghijkl");
  EXPECT_TRUE(ReadModelInputs(signature, {{"a=" + two, "b=" + two}, ""}).ok());
  EXPECT_THAT(ReadModelInputs(signature, {{"a=" + two, "b=" + three}, ""}).status().message(),
              HasSubstr("3 rows"));
  EXPECT_THAT(ReadModelInputs(signature, {{"a=" + two}, ""}).status().message(),
              HasSubstr("--input b=FILE"));
}

TEST(ModelInputsTest, LabelsAreOneARow) {
  const auto inputs = ReadModelInputs(
      ImageModel(),
      {{ShippedImages()}, TempFile("labels", std::string("\0\0\x08\1\0\0\0\2ab", 10))});
  EXPECT_THAT(inputs.status().message(), HasSubstr("2 labels for 1000 rows"));
  const auto unknown = ReadModelInputs(ImageModel(), {{ShippedImages()}, "classes"});
  EXPECT_THAT(unknown.status().message(), HasSubstr("neither an array"));
}

}  // namespace
}  // namespace bitmill
