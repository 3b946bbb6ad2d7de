#include "tools/named_file.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStdout;

TEST(NamedFileTest, ReplacesAFileAsAWhole) {
  const std::string path = absl::StrCat(testing::TempDir(), "/named_file_test.txt");
  ASSERT_TRUE(WriteNamedFile(path, "a longer first text").ok());
  ASSERT_TRUE(WriteNamedFile(path, "second").ok());
  EXPECT_EQ(ReadNamedFile(path).value(), "second");
}

TEST(NamedFileTest, ADashIsStandardOutput) {
  CaptureStdout();
  EXPECT_TRUE(WriteNamedFile("-", "to the pipe\n").ok());
  EXPECT_EQ(GetCapturedStdout(), "to the pipe\n");
}

TEST(NamedFileTest, ADeviceStaysADevice) {
  EXPECT_TRUE(CheckNamedOutput("/dev/null").ok());
  EXPECT_TRUE(WriteNamedFile("/dev/null", "away").ok());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_EQ(WriteNamedFile("/dev/full", "no room").code(), absl::StatusCode::kResourceExhausted);
}

TEST(NamedFileTest, SaysBeforehandWhereNothingCanBeWritten) {
  EXPECT_TRUE(CheckNamedOutput("").ok());
  EXPECT_TRUE(CheckNamedOutput("-").ok());
  EXPECT_TRUE(CheckNamedOutput("in_this_folder.json").ok());
  EXPECT_THAT(CheckNamedOutput("/nowhere/a.json").message(),
              HasSubstr("cannot write /nowhere/a.json: there is no folder /nowhere"));
  EXPECT_THAT(CheckNamedOutput(testing::TempDir()).message(), HasSubstr("is a folder"));
  EXPECT_EQ(WriteNamedFile("/nowhere/a.json", "").code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace bitmill
