#include "tools/compare/comparison.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/platform_samples.h"
#include "tools/cmd_compare.h"
#include "tools/compare/comparison_html.h"
#include "tools/compare/comparison_text.h"
#include "tools/compare/setting_gains.h"
#include "tools/text/json_reader.h"

namespace bitmill {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Two machines with two models in common; b is twice and eight times as fast.
std::vector<ComparedFile> Two() {
  PlatformRun fast = SampleRun(1, 2000.0);
  fast.machine_share = 0.1;
  return {{"a", SampleReport("slow", {{"m", {SampleRun(1, 1000.0)}},
                                      {"n", {SampleRun(1, 100.0)}},
                                      {"only_a", {SampleRun(1, 5.0)}}})},
          {"b", SampleReport("fast", {{"n", {SampleRun(1, 800.0)}}, {"m", {fast}}})}};
}

TEST(CompareTest, HoldsWhatBothHaveAgainstTheFirst) {
  const Comparison comparison = Compare(Two(), CaseOrder::kModel);
  ASSERT_EQ(comparison.cases.size(), 2U);
  const ComparedCase& m = comparison.cases[0];
  EXPECT_EQ(m.model, "m");
  ASSERT_EQ(m.entries.size(), 2U);
  EXPECT_EQ(m.entries[0].speed, 1.0);
  EXPECT_EQ(m.entries[1].speed, 2.0);
  EXPECT_DOUBLE_EQ(m.entries[1].relative.value(), 0.25);
  EXPECT_DOUBLE_EQ(m.entries[1].energy_ratio.value(), 1.0);
  EXPECT_THAT(comparison.notes, ElementsAre("left out: only_a, not in b"));
  ASSERT_EQ(comparison.ranks.size(), 2U);
  EXPECT_EQ(comparison.ranks[0].label, "b");
  EXPECT_DOUBLE_EQ(comparison.ranks[0].speed, 4.0);  // of 2 and 8
  EXPECT_EQ(comparison.ranks[0].least_speed, 2.0);
  EXPECT_EQ(comparison.ranks[0].most_speed, 8.0);
  EXPECT_DOUBLE_EQ(comparison.ranks[0].machine_share.value(), 0.2);  // of 0.1 and 0.4
  EXPECT_EQ(comparison.ranks[1].speed, 1.0);
}

TEST(CompareTest, SortsBySpeedAndByShare) {
  EXPECT_EQ(Compare(Two(), CaseOrder::kSpeed).cases[0].model, "n");
  EXPECT_EQ(Compare(Two(), CaseOrder::kShare).cases[0].model, "m");
}

TEST(CompareTest, AnotherFileOfTheSameNameIsAnotherModel) {
  std::vector<ComparedFile> files = Two();
  files[1].report.models[0].file_hash = "0000000000000001";
  const Comparison comparison = Compare(files, CaseOrder::kModel);
  ASSERT_EQ(comparison.cases.size(), 1U);
  EXPECT_EQ(comparison.cases[0].model, "m");
  EXPECT_THAT(comparison.notes, Contains("left out: n, another file in each report"));
}

TEST(CompareTest, OtherSettingsAreNotHeldAgainstEachOther) {
  std::vector<ComparedFile> files = Two();
  files[1].report.models[1].runs[0].clock = "wall";
  files[1].report.models[0].runs[0].precision = "fast";
  const Comparison comparison = Compare(files, CaseOrder::kModel);
  EXPECT_THAT(comparison.cases, IsEmpty());
  EXPECT_THAT(comparison.ranks, IsEmpty());
  EXPECT_THAT(comparison.notes,
              AllOf(Contains("left out: batch 1, one thread, wall time, exact, not in a (1 model)"),
                    Contains("left out: batch 1, one thread, cpu time, fast, not in a (1 model)"),
                    Contains("nothing is in every file")));
}

TEST(CompareTest, TakesTheFastestInstructionSetOfEachFile) {
  std::vector<ComparedFile> files = Two();
  files[0].report.models[0].runs.insert(files[0].report.models[0].runs.begin(),
                                        SampleRun(1, 50.0, "ref"));
  const Comparison comparison = Compare(files, CaseOrder::kModel);
  EXPECT_EQ(comparison.cases[0].entries[0].isa, "avx2");
  EXPECT_EQ(comparison.cases[0].entries[0].rows_per_s, 1000.0);
}

TEST(CompareTest, MeasuredAndEstimatedEnergyHaveNoRatio) {
  std::vector<ComparedFile> files = Two();
  files[1].report.models[1].runs[0].energy = PlatformEnergy{"rapl", 1e-6, 1e-8};
  const Comparison comparison = Compare(files, CaseOrder::kModel);
  EXPECT_FALSE(comparison.cases[0].entries[1].energy_ratio.has_value());
  EXPECT_TRUE(comparison.cases[1].entries[1].energy_ratio.has_value());
  EXPECT_THAT(comparison.notes, Contains(HasSubstr("no ratio between them")));
}

TEST(SettingGainsTest, ComparesRunsThatDifferInOneSetting) {
  PlatformRun tuned = SampleRun(1, 1500.0);
  tuned.tune_seconds = 1.0;
  PlatformRun wall = SampleRun(1, 900.0), side = SampleRun(1, 1800.0);
  wall.clock = side.clock = "wall";
  side.mode = "side by side";
  side.threads = 4;
  const ComparedFile file = {
      "a", SampleReport("x", {{"m",
                               {SampleRun(1, 100.0, "ref"), SampleRun(1, 1000.0),
                                SampleRun(8, 3000.0), tuned, wall, side}},
                              {"n", {SampleRun(1, 10.0, "ref"), SampleRun(1, 400.0)}}})};
  const std::vector<SettingGain> gains = GainsOf(file);
  ASSERT_EQ(gains.size(), 4U);
  EXPECT_EQ(gains[0].setting, "instruction set");
  EXPECT_EQ(gains[0].from, "ref");
  EXPECT_EQ(gains[0].to, "avx2");
  EXPECT_DOUBLE_EQ(gains[0].mean, 20.0);  // of 10 and 40
  EXPECT_EQ(gains[0].least, 10.0);
  EXPECT_EQ(gains[0].most, 40.0);
  EXPECT_EQ(gains[0].cases, 2);
  EXPECT_EQ(gains[1].setting, "batch");
  EXPECT_DOUBLE_EQ(gains[1].mean, 3.0);
  EXPECT_EQ(gains[2].to, "4 side by side");
  EXPECT_DOUBLE_EQ(gains[2].mean, 2.0);
  EXPECT_EQ(gains[3].to, "tuned");
  EXPECT_DOUBLE_EQ(gains[3].mean, 1.5);
}

TEST(ComparisonTextTest, ATableForATerminalAndForMarkdown) {
  std::vector<ComparedFile> files = Two();
  files[1].report.machine.cpu = "CPU | \x1b[31mred";
  const Comparison comparison = Compare(files, CaseOrder::kModel);
  const std::string text = ComparisonText(comparison, TextForm::kTerminal);
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("note: left out: only_a, not in b\n"));
  EXPECT_THAT(text, HasSubstr("########################\n"));
  EXPECT_THAT(text, HasSubstr("4.00 x"));
  EXPECT_THAT(text, HasSubstr("2.00 uJ +- 60 % model, 1.00 x"));
  const std::string markdown = ComparisonText(comparison, TextForm::kMarkdown);
  EXPECT_THAT(markdown, HasSubstr("## Which platform"));
  EXPECT_THAT(markdown, HasSubstr("CPU \\| ?[31mred"));
  EXPECT_THAT(markdown, Not(HasSubstr("####")));
  EXPECT_THAT(markdown, HasSubstr("| m "));
}

TEST(ComparisonTextTest, CeilingsStandSideBySide) {
  std::vector<ComparedFile> files = Two();
  files[1].report.ceilings[0].per_s["bit_macs_per_s"] = 3e12;
  files[1].report.ceilings[0].per_s.erase("dram_bytes_per_s");
  // A plainer instruction set says nothing about what the machine can do at most.
  files[1].report.ceilings.push_back({"ref", 1, {{"bit_macs_per_s", 1e9}}});
  const std::string text = ComparisonText(Compare(files, CaseOrder::kModel), TextForm::kTerminal);
  EXPECT_THAT(text, HasSubstr("1,000 GMAC/s"));
  EXPECT_THAT(text, HasSubstr("3,000 GMAC/s"));
  EXPECT_THAT(text, HasSubstr("3.00 x"));
}

TEST(ComparisonJsonTest, IsJsonWithAllParts) {
  const auto json = ParseJson(ComparisonJson(Compare(Two(), CaseOrder::kModel)));
  ASSERT_TRUE(json.ok()) << json.status();
  std::vector<std::string> keys;
  for (const auto& member : json->members) keys.push_back(member.first);
  EXPECT_THAT(keys, ElementsAre("files", "ceilings", "cases", "ranks", "gains", "notes"));
}

TEST(ComparisonHtmlTest, ThePageLoadsNothingAndNoNameLeavesTheData) {
  std::vector<ComparedFile> files = Two();
  const std::string plain = ComparisonHtml(Compare(files, CaseOrder::kModel));
  files[0].report.machine.cpu = "</script><script>alert(1)</script><!--";
  const std::string page = ComparisonHtml(Compare(files, CaseOrder::kModel));
  for (const char* bad : {"src=\"", "http:", "https:", "alert(1)</", "<link", "innerHTML"}) {
    const std::string text = absl::StrCat(page);
    const size_t at = text.find(bad);
    const bool name_space = at != std::string::npos && text.substr(at, 14) == "http://www.w3.";
    EXPECT_TRUE(at == std::string::npos || name_space) << bad;
  }
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, HasSubstr("--kind-good"));  // the analysis' style
  const auto count = [](const std::string& text) {
    size_t scripts = 0;
    for (size_t at = text.find("<script"); at != std::string::npos;
         at = text.find("<script", at + 1)) {
      ++scripts;
    }
    return scripts;
  };
  EXPECT_EQ(count(page), count(plain));
}

class CompareCommandTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = testing::TempDir() + name;
    EXPECT_TRUE(WriteFileAtomically(path, text).ok());
    return path;
  }
};

TEST_F(CompareCommandTest, ReadsFilesAndWritesPages) {
  const std::vector<ComparedFile> two = Two();
  CompareOptions options;
  options.files = {Write("first.json", PlatformReportJson(two[0].report)),
                   Write("second.json", PlatformReportJson(two[1].report))};
  options.files.push_back(options.files[1]);
  options.html = testing::TempDir() + "comparison.html";
  options.json = testing::TempDir() + "comparison.json";
  testing::internal::CaptureStdout();
  const auto status = RunCompare(options);
  const std::string text = testing::internal::GetCapturedStdout();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_THAT(text, AllOf(HasSubstr("first"), HasSubstr("second#2")));
  EXPECT_THAT(ReadFile(options.html).value(), HasSubstr("second#2"));
  EXPECT_TRUE(ParseJson(ReadFile(options.json).value()).ok());
}

TEST_F(CompareCommandTest, ErrorsNameTheFile) {
  CompareOptions options;
  options.files = {"/nowhere/report.json"};
  EXPECT_THAT(RunCompare(options).status().message(), HasSubstr("/nowhere/report.json"));
  options.files = {Write("cut.json", PlatformReportJson(Two()[0].report).substr(0, 500))};
  EXPECT_THAT(RunCompare(options).status().message(),
              AllOf(HasSubstr("cut.json: line "), HasSubstr("found the end of the file")));
}

}  // namespace
}  // namespace bitmill
