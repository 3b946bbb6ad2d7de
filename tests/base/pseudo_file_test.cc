#include "base/pseudo_file.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

class PseudoFileTest : public ::testing::Test {
 protected:
  PseudoFileTest() {
    std::string name = ::testing::TempDir() + "/pseudo_file_XXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/file";
  }
  ~PseudoFileTest() override { std::filesystem::remove_all(folder_); }
  void Put(const std::string& contents) { std::ofstream(path_) << contents; }

  std::string folder_, path_;
  std::array<char, 64> buffer_{};
};

TEST_F(PseudoFileTest, SeesWhatTheFileHoldsNow) {
  Put("1\n");
  PseudoFile file(path_);
  EXPECT_EQ(file.Read(absl::MakeSpan(buffer_)), "1\n");
  Put("22\n");
  EXPECT_EQ(file.Read(absl::MakeSpan(buffer_)), "22\n");
  Put("");
  EXPECT_EQ(file.Read(absl::MakeSpan(buffer_)), "");
}

TEST_F(PseudoFileTest, ReadsNoMoreThanTheBufferHolds) {
  Put(std::string(1000, 'x'));
  PseudoFile file(path_);
  EXPECT_EQ(file.Read(absl::MakeSpan(buffer_)), std::string(64, 'x'));
}

TEST_F(PseudoFileTest, TriesAFileThatIsNotThereAgainLater) {
  PseudoFile file(path_);
  EXPECT_EQ(file.Read(absl::MakeSpan(buffer_)), std::nullopt);
  Put("1\n");
  int calls = 1;
  while (calls < 1000 && !file.Read(absl::MakeSpan(buffer_))) ++calls;
  EXPECT_EQ(calls, 64);
}

TEST_F(PseudoFileTest, AFolderOrNoFileCannotBeRead) {
  EXPECT_EQ(PseudoFile(folder_).Read(absl::MakeSpan(buffer_)), std::nullopt);
  EXPECT_EQ(PseudoFile().Read(absl::MakeSpan(buffer_)), std::nullopt);
}

TEST_F(PseudoFileTest, MovesItsDescriptorAlong) {
  Put("7\n");
  PseudoFile first(path_);
  ASSERT_TRUE(first.Read(absl::MakeSpan(buffer_)));
  PseudoFile second(std::move(first));
  std::filesystem::remove(path_);
  EXPECT_EQ(second.Read(absl::MakeSpan(buffer_)), "7\n");
}

TEST(ParseCountTest, TakesOnlyCounts) {
  EXPECT_EQ(ParseCount("0"), 0);
  EXPECT_EQ(ParseCount("9223372036854775807"), 9223372036854775807);
  EXPECT_EQ(ParseCount("9223372036854775808"), std::nullopt);
  EXPECT_EQ(ParseCount("-1"), std::nullopt);
  EXPECT_EQ(ParseCount("12x"), std::nullopt);
  EXPECT_EQ(ParseCount("max"), std::nullopt);
  EXPECT_EQ(ParseCount(""), std::nullopt);
}

TEST(ParseOnlyCountTest, WantsTheEndOfTheLine) {
  EXPECT_EQ(ParseOnlyCount("4096\n"), 4096);
  EXPECT_EQ(ParseOnlyCount("40"), std::nullopt);
  EXPECT_EQ(ParseOnlyCount("\n"), std::nullopt);
  EXPECT_EQ(ParseOnlyCount("1\n2\n"), std::nullopt);
}

TEST(FindCountTest, FindsTheLineOfAKeyWhenItIsWhole) {
  const std::string text = "nr_periods 30\nnr_throttled 24\nthrottled_time 1140000000\n";
  EXPECT_EQ(FindCount(text, "nr_periods"), 30);
  EXPECT_EQ(FindCount(text, "throttled_time"), 1140000000);
  EXPECT_EQ(FindCount(text, "nr"), std::nullopt);
  EXPECT_EQ(FindCount(text, "missing"), std::nullopt);
  // A half-written last line is never taken for a smaller number.
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(FindCount(text.substr(0, size), "throttled_time"), std::nullopt) << size;
  }
}

}  // namespace
}  // namespace bitmill
