#include "tools/compare/platform_report.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/platform_samples.h"
#include "tools/compare/this_machine.h"

namespace bitmill {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

PlatformReport Sample() {
  PlatformRun without_energy = SampleRun(8, 4000.0);
  without_energy.energy.reset();
  return SampleReport("A \"CPU\"", {{"m", {SampleRun(1, 1000.0), without_energy}}});
}

// The status of the sample's text with one thing replaced, which it has.
absl::Status With(const std::string& what, const std::string& by) {
  const std::string json = PlatformReportJson(Sample());
  EXPECT_THAT(json, HasSubstr(what));
  return ParsePlatformReport(absl::StrReplaceAll(json, {{what, by}})).status();
}

TEST(PlatformReportTest, ReadsBackWhatItWrites) {
  const std::string json = PlatformReportJson(Sample());
  const auto read = ParsePlatformReport(json);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(PlatformReportJson(*read), json);
  EXPECT_EQ(read->machine.cpu, "A \"CPU\"");
  EXPECT_EQ(read->machine.memory_bytes, int64_t{8} << 30);
  const PlatformRun& run = read->models.at(0).runs.at(0);
  EXPECT_EQ(run.energy->source, "model");
  EXPECT_EQ(run.latency.p90_us, 1500.0);
  EXPECT_EQ(run.operations.at(1).bound, "L2");
  EXPECT_FALSE(read->models[0].runs[1].energy.has_value());
}

TEST(PlatformReportTest, AnotherVersionIsSaidToBeOne) {
  const absl::Status status = With("\"version\": 1", "\"version\": 2, \"of_later\": []");
  EXPECT_TRUE(absl::IsUnimplemented(status));
  EXPECT_EQ(status.message(), "the report has version 2, this program reads 1");
}

TEST(PlatformReportTest, OtherFilesAreNoReports) {
  for (const char* text : {"{}", "[]", "7", R"({"format": 5})", R"({"format": "other"})"}) {
    EXPECT_THAT(ParsePlatformReport(text).status().message(), HasSubstr("bench --report")) << text;
  }
}

TEST(PlatformReportTest, ErrorsNameThePlaceAndTheLine) {
  EXPECT_THAT(With("\"batch\": 8", "\"batch\": \"8\"").message(),
              AllOf(HasSubstr("models[0].runs[1].batch: expected a number, found a text (line "),
                    HasSubstr(")")));
  EXPECT_THAT(With("\"batch\": 8", "\"batch\": 8.5").message(), HasSubstr("8.5 is no whole"));
  EXPECT_THAT(With("\"batch\": 8", "\"batch\": 1e300").message(), HasSubstr("no whole number"));
  EXPECT_THAT(With("\"batch\": 8", "\"batch\": -8").message(), HasSubstr("-8 is negative"));
  EXPECT_THAT(With("\"batch\": 8", "\"batch\": 0").message(), HasSubstr("at least 1"));
  EXPECT_THAT(With("\"batch\": 8,", "").message(),
              HasSubstr("models[0].runs[1].batch: it is missing"));
  EXPECT_THAT(With("\"batch\": 8", "\"batch\": 8, \"batches\": 8").message(),
              HasSubstr("models[0].runs[1].batches: this version has no such member"));
  EXPECT_THAT(With("\"rows_per_s\": 4000", "\"rows_per_s\": 0").message(),
              HasSubstr("models[0].runs[1].rows_per_s"));
  EXPECT_THAT(With("\"p10_us\": 900", "\"p10_us\": 1001").message(), HasSubstr("not in order"));
  EXPECT_THAT(With("\"mode\": \"one thread\"", "\"mode\": \"alone\"").message(),
              HasSubstr("'alone' is none of one thread, side by side, shared batch"));
  EXPECT_THAT(With("\"source\": \"model\"", "\"source\": \"guess\"").message(),
              HasSubstr("models[0].runs[0].energy.source"));
  EXPECT_THAT(With("00000000000000ab", "xyz").message(), HasSubstr("models[0].file_hash"));
  EXPECT_THAT(With("\"cores\": 4", "\"cores\": null").message(),
              HasSubstr("machine.cores: expected a number, found null"));
  EXPECT_THAT(With("Some Linux 1", std::string(2000, 'x')).message(), HasSubstr("machine.os"));
}

TEST(PlatformReportTest, AModelIsThereOnce) {
  PlatformReport report = Sample();
  report.models.push_back(report.models[0]);
  EXPECT_THAT(ParsePlatformReport(PlatformReportJson(report)).status().message(),
              HasSubstr("models[1].name: 'm' again"));
}

TEST(PlatformReportTest, EveryTruncationIsRefused) {
  const std::string json = PlatformReportJson(Sample());
  for (size_t size = 0; size + 1 < json.size(); ++size) {  // the last byte is a newline
    EXPECT_FALSE(ParsePlatformReport(json.substr(0, size)).ok()) << size;
  }
}

TEST(PlatformReportTest, AnyByteMayBeWrong) {
  std::string json = PlatformReportJson(Sample());
  size_t refused = 0;
  for (char& byte : json) {
    const char kept = byte;
    byte = '\x01';
    refused += !ParsePlatformReport(json).ok();
    byte = kept;
  }
  EXPECT_EQ(refused, json.size());
}

TEST(ThisMachineTest, ReadsTheSystemsFiles) {
  const std::string root = absl::StrCat(testing::TempDir(), "/this_machine_test");
  std::filesystem::create_directories(root + "/etc");
  std::filesystem::create_directories(root + "/proc");
  ASSERT_TRUE(
      WriteFileAtomically(root + "/etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n")
          .ok());
  ASSERT_TRUE(
      WriteFileAtomically(root + "/proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n").ok());
  const PlatformMachine machine = ThisMachine(root);
  EXPECT_EQ(machine.os, "Some Linux 12");
  EXPECT_EQ(machine.memory_bytes, 2048 * 1024);
  EXPECT_GE(machine.cores, 1);
  EXPECT_EQ(machine.isa_levels.front(), "ref");
  EXPECT_THAT(machine.kernel, HasSubstr("Linux"));
  const PlatformMachine unknown = ThisMachine("/nowhere");
  EXPECT_FALSE(unknown.memory_bytes.has_value());
  EXPECT_EQ(unknown.os, "");
}

}  // namespace
}  // namespace bitmill
