#include "server/repository/model_scan.h"

#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/repository/model_path.h"
#include "tests/server/repository/fake_models.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ModelNameTest, IsOneVisiblePathComponent) {
  EXPECT_TRUE(CheckModelName("digits-v2.1 (small)").ok());
  for (const std::string& bad :
       {std::string(), std::string("."), std::string(".."), std::string(".hidden"),
        std::string("a/b"), std::string("/"), std::string("../x"), std::string("a\0b", 3),
        std::string("a\nb"), std::string(300, 'x')}) {
    EXPECT_EQ(CheckModelName(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(ModelNameTest, IsShownShortAndEscaped) {
  EXPECT_EQ(QuoteName("a\nb"), "'a\\nb'");
  EXPECT_LT(QuoteName(std::string(70'000, 'x')).size(), 120U);
}

TEST(VersionNameTest, IsAPositiveNumberWithoutLeadingZeros) {
  int64_t version = 0;
  EXPECT_TRUE(ParseVersion("1", version));
  EXPECT_TRUE(ParseVersion("9223372036854775807", version));
  EXPECT_EQ(version, INT64_MAX);
  for (const char* bad : {"", "0", "01", "-1", "+1", "1.0", " 1", "1 ", "1x", "x", "latest",
                          "9223372036854775808", "99999999999999999999"}) {
    EXPECT_FALSE(ParseVersion(bad, version)) << bad;
  }
}

TEST(ModelScanTest, FindsVersionsAndConfiguration) {
  TemporaryFolder root;
  root.Put("m/config.pbtxt", "");
  root.Put("m/1/model.onnx", "add 1");
  root.Put("m/20/model.onnx", "add 20");
  root.Put("m/01/model.onnx", "add 0");
  root.Put("m/notes.txt", "");
  root.Put("m/.git/x", "");
  const auto model = ScanModel(root.path(), "m", "");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->versions.size(), 2U);
  EXPECT_EQ(model->versions.at(20).stamp.bytes, 6);
  EXPECT_TRUE(model->versions.at(1).problem.ok());
  EXPECT_NE(model->config, FileStamp{});
  EXPECT_THAT(model->skipped, ElementsAre(HasSubstr("'01'")));
}

TEST(ModelScanTest, SaysWhatAVersionFolderLacks) {
  TemporaryFolder root;
  root.Put("m/1/model.tflite", "x");
  root.Put("m/2/model.onnx/x", "");
  const auto model = ScanModel(root.path(), "m", "");
  EXPECT_THAT(std::string(model->versions.at(1).problem.message()),
              HasSubstr("no model.onnx; there is 'model.tflite'"));
  EXPECT_THAT(std::string(model->versions.at(2).problem.message()),
              HasSubstr("not a regular file"));
}

TEST(ModelScanTest, UsesTheFileNameOfTheConfiguration) {
  TemporaryFolder root;
  root.Put("m/1/net.onnx", "add 1");
  EXPECT_TRUE(ScanModel(root.path(), "m", "net.onnx")->versions.at(1).problem.ok());
}

TEST(ModelScanTest, RefusesLinksThatLeaveTheRepository) {
  TemporaryFolder outside;
  outside.Put("1/model.onnx", "add 1");
  TemporaryFolder root;
  root.Put("m/1/model.onnx", "add 1");
  ASSERT_EQ(symlink(outside.path().c_str(), (root.path() + "/linked").c_str()), 0);
  ASSERT_EQ(symlink((outside.path() + "/1").c_str(), (root.path() + "/m/2").c_str()), 0);
  ASSERT_EQ(symlink("1", (root.path() + "/m/3").c_str()), 0);
  ASSERT_EQ(symlink("nowhere", (root.path() + "/m/4").c_str()), 0);
  EXPECT_EQ(ScanModel(root.path(), "linked", "")->problem.code(),
            absl::StatusCode::kPermissionDenied);
  const auto model = ScanModel(root.path(), "m", "");
  EXPECT_EQ(model->versions.at(2).problem.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(model->versions.at(3).problem.ok());  // inside: as a mounted configuration has them
  EXPECT_FALSE(model->versions.contains(4));
}

TEST(ModelScanTest, ARootWithTheSameBeginningIsOutside) {
  TemporaryFolder both;
  both.Put("repo/m/notes", "");
  both.Put("repo-secret/model.onnx", "add 1");
  ASSERT_EQ(symlink((both.path() + "/repo-secret").c_str(), (both.path() + "/repo/m/1").c_str()),
            0);
  const auto model = ScanModel(both.path() + "/repo", "m", "");
  EXPECT_EQ(model->versions.at(1).problem.code(), absl::StatusCode::kPermissionDenied);
}

TEST(ModelScanTest, NamesAModelThatIsNotThere) {
  TemporaryFolder root;
  root.Put("file", "");
  EXPECT_EQ(ScanModel(root.path(), "nothing", "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ScanModel(root.path(), "file", "").status().code(), absl::StatusCode::kNotFound);
}

TEST(ModelScanTest, ListsVisibleFolders) {
  TemporaryFolder root;
  root.Put("b/1/model.onnx", "");
  root.Put("a/x", "");
  root.Put(".hidden/1/model.onnx", "");
  root.Put("README.md", "");
  ASSERT_EQ(symlink("nowhere", (root.path() + "/dangling").c_str()), 0);
  EXPECT_THAT(*ListModels(root.path()), ElementsAre("a", "b", "dangling"));
  EXPECT_EQ(ListModels(root.path() + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST(ModelScanTest, AReplacedFileHasAnotherStamp) {
  TemporaryFolder root;
  root.Put("m/1/model.onnx", "add 1");
  const auto before = ScanModel(root.path(), "m", "");
  root.Put("m/1/model.onnx", "add 2");
  EXPECT_NE(*ScanModel(root.path(), "m", ""), *before);
}

TEST(VersionsWantedTest, FollowsThePolicyNewestFirst) {
  ModelOnDisk model;
  for (const int64_t version : {1, 5, 3}) model.versions[version] = {};
  VersionPolicy policy;
  EXPECT_THAT(VersionsWanted(policy, model), ElementsAre(5, 3, 1));
  policy = {.kind = VersionPolicy::Kind::kSpecific, .latest = 1, .specific = {1, 9, 1}};
  EXPECT_THAT(VersionsWanted(policy, model), ElementsAre(9, 1));
}

}  // namespace
}  // namespace bitmill
