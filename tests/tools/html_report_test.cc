#include "tools/analysis/html_report.h"

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "server/analysis/page/page_files.h"
#include "tools/cmd_report.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string FixturePath() {
  return absl::StrCat(BITMILL_SOURCE_DIR, "/tests/end_to_end/fixtures/analysis_report.json");
}

pb::SavedReport Fixture() { return ParseSavedReport(ReadFile(FixturePath()).value()).value(); }

size_t Count(absl::string_view text, absl::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != absl::string_view::npos; at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

TEST(HtmlReportTest, JsonReadsBackAsTheSameReport) {
  const pb::SavedReport saved = Fixture();
  EXPECT_EQ(saved.report().models_size(), 5);
  EXPECT_EQ(saved.timelines_size(), 5);
  const auto again = ParseSavedReport(SavedReportJson(saved));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*again, saved));
}

TEST(HtmlReportTest, ABareReportIsTakenToo) {
  const auto bare = ParseSavedReport(
      R"({"unix_millis": "12", "models": [{"name": "m"}], "of_a_newer_server": 1})");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->report().models(0).name(), "m");
  for (const char* const text : {"", "{}", "[]", "no JSON", R"({"unix_millis": {}})",
                                 R"({"report": 5})", R"({"models": []})"}) {
    EXPECT_EQ(ParseSavedReport(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(HtmlReportTest, ThePageLoadsNothing) {
  const std::string page = HtmlReport(Fixture());
  EXPECT_THAT(page, StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, testing::Not(HasSubstr("src=\"")));
  EXPECT_EQ(Count(page, "<link"), 1u) << "the empty icon";
  for (const EmbeddedFile& file : AnalysisPageFiles()) {
    if (absl::EndsWith(file.path, ".js") || absl::EndsWith(file.path, ".css")) {
      EXPECT_THAT(page, HasSubstr(std::string(file.bytes)));
    }
  }
}

TEST(HtmlReportTest, NoNameCanLeaveTheData) {
  pb::SavedReport saved;
  saved.mutable_report()->set_unix_millis(1);
  saved.mutable_report()->add_models()->set_name(
      "</script><script>alert(1)</script><!--<script>]]>");
  const std::string page = HtmlReport(saved), empty = HtmlReport(pb::SavedReport());
  EXPECT_EQ(Count(page, "<script"), Count(empty, "<script"));
  EXPECT_EQ(Count(page, "</script"), Count(empty, "</script"));
  EXPECT_EQ(Count(page, "<!--"), 0u);
  // And the name arrives as it was.
  const std::string opening = "id=\"saved-report\">";
  const size_t begin = page.find(opening) + opening.size();
  const auto again = ParseSavedReport(page.substr(begin, page.find("</script>", begin) - begin));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->report().models(0).name(), saved.report().models(0).name());
}

TEST(AnalysisPageTest, FilesAreWhatIsInTheTree) {
  const std::vector<EmbeddedFile> files = AnalysisPageFiles();
  ASSERT_FALSE(files.empty());
  EXPECT_EQ(files[0].path, "/");
  for (const EmbeddedFile& file : files) {
    const std::string name = file.path == "/" ? "/index.html" : std::string(file.path);
    EXPECT_EQ(file.bytes,
              ReadFile(absl::StrCat(BITMILL_SOURCE_DIR, "/server/analysis/page", name)).value());
  }
  EXPECT_EQ(files[0].content_type, "text/html; charset=utf-8");
}

TEST(AnalysisPageTest, ThePageHasNoInlineScriptOrStyleAndNamesNoOtherHost) {
  for (const EmbeddedFile& file : AnalysisPageFiles()) {
    const std::string text = absl::StrReplaceAll(
        file.bytes, {{"http://www.w3.org/2000/svg", ""}});  // a name, not an address
    for (const char* const bad : {"http:", "https:", "style=", "<style", "onclick=", "innerHTML",
                                  "insertAdjacentHTML", "document.write", "eval("}) {
      EXPECT_FALSE(absl::StrContains(text, bad)) << file.path << " has " << bad;
    }
    EXPECT_EQ(Count(text, "<script>"), 0u);
  }
}

class ReportCommandTest : public testing::Test {
 protected:
  ReportCommandTest() {
    options_.output = absl::StrCat(testing::TempDir(), "/bitmill_report_test.html");
  }
  ReportOptions options_;
};

TEST_F(ReportCommandTest, WritesThePageAndTheJsonOfASavedReport) {
  options_.from = FixturePath();
  options_.json = absl::StrCat(testing::TempDir(), "/bitmill_report_test.json");
  const absl::StatusOr<int> status = RunReport(options_);
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(*status, 0);
  EXPECT_THAT(ReadFile(options_.output).value(), HasSubstr("fmnist_wide_w1a1"));
  EXPECT_TRUE(ParseSavedReport(ReadFile(options_.json).value()).ok());
}

TEST_F(ReportCommandTest, SaysWhatIsWrong) {
  options_.from = FixturePath();
  options_.address = "127.0.0.1:1";
  EXPECT_EQ(RunReport(options_).status().code(), absl::StatusCode::kInvalidArgument);
  options_.address.clear();
  options_.from = "/nowhere/report.json";
  EXPECT_THAT(RunReport(options_).status().message(), HasSubstr("/nowhere/report.json"));
  options_.from = absl::StrCat(BITMILL_SOURCE_DIR, "/LAYERS");
  EXPECT_THAT(RunReport(options_).status().message(), HasSubstr("LAYERS: it is no JSON"));
  options_.output = "/nowhere/report.html";
  EXPECT_THAT(RunReport(options_).status().message(), HasSubstr("there is no folder /nowhere"));
}

}  // namespace
}  // namespace bitmill
