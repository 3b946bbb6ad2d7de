#include "tools/analysis/top_view.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/analysis/html_report.h"
#include "tools/text/display_text.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

// The fixture of the web page's test, as one server; it has a model whose name is an attack.
TargetReport Busy(const std::string& address) {
  const absl::StatusOr<std::string> json =
      ReadFile(absl::StrCat(BITMILL_SOURCE_DIR, "/tests/end_to_end/fixtures/analysis_report.json"));
  absl::StatusOr<pb::SavedReport> saved = ParseSavedReport(json.value());
  return {address, std::make_shared<pb::Report>(saved.value().report()), "", 0.4};
}

std::string Text(const std::vector<std::string>& lines) { return absl::StrJoin(lines, "\n"); }

std::string LineOf(const std::vector<std::string>& lines, const std::string& what) {
  for (const std::string& line : lines) {
    if (absl::StrContains(line, what)) return line;
  }
  return "";
}

TEST(TopViewTest, ShowsTheFiguresOfAModelInALine) {
  const std::vector<std::string> lines = TopLines(MergeReports({Busy("10.0.0.1:8001")}), {});
  EXPECT_THAT(LineOf(lines, "MODEL"), AllOf(HasSubstr("P99"), HasSubstr("BOTTLENECK"),
                                            HasSubstr("HEADROOM"), Not(HasSubstr(" ON "))));
  EXPECT_THAT(LineOf(lines, "fmnist_wide_w1a1 "),
              AllOf(HasSubstr("8,120"), HasSubstr("440"), HasSubstr("24.60 ms!"), HasSubstr("31.4"),
                    HasSubstr("118"), HasSubstr("overload"), HasSubstr("18.90 ms of 25.10 ms"),
                    HasSubstr("~-24 %"), HasSubstr("now")));
  // Of a server that does not tell what p99 it judged.
  EXPECT_THAT(LineOf(lines, "keywords"), AllOf(HasSubstr("19.80 ms"), Not(HasSubstr(" of "))));
  EXPECT_THAT(LineOf(lines, "10.0.0.1:8001"),
              AllOf(HasSubstr("cpu 1.71 of 2.00 cores"), HasSubstr("host healthy")));
  EXPECT_THAT(LineOf(lines, "! overloaded"), HasSubstr("8,560 rows/s arrive"));
}

TEST(TopViewTest, NoLineIsWiderOrLongerThanTheTerminal) {
  const Fleet fleet = MergeReports({Busy("10.0.0.1:8001"), Busy("10.0.0.2:8001")});
  for (size_t columns = 1; columns <= 200; ++columns) {
    for (const size_t rows : {size_t{1}, size_t{2}, size_t{7}, size_t{40}}) {
      TopLayout layout;
      layout.columns = columns;
      layout.rows = rows;
      layout.message = "12:00:00  q quit";
      const std::vector<std::string> lines = TopLines(fleet, layout);
      EXPECT_LE(lines.size(), rows);
      for (const std::string& line : lines) {
        ASSERT_LE(DisplayWidth(line), columns) << columns << ": " << line;
      }
    }
  }
}

TEST(TopViewTest, ANarrowTerminalKeepsWhatTellsMost) {
  TopLayout layout;
  layout.columns = 60;
  const std::string title = LineOf(TopLines(MergeReports({Busy("a:1")}), layout), "MODEL");
  EXPECT_THAT(title, AllOf(HasSubstr("REQ/S"), HasSubstr("P99"), HasSubstr("BOTTLENECK")));
  EXPECT_THAT(title, Not(HasSubstr("GOOD/S")));
}

// As many models as given, m00, m01, ..., each a warning.
TargetReport Many(int models) {
  auto report = std::make_shared<pb::Report>();
  for (int i = 0; i < models; ++i) {
    pb::ModelReport& model = *report->add_models();
    model.set_name(absl::StrFormat("m%02d", i));
    model.set_version(1);
    model.set_answered_per_s(1000 - i);
    pb::Warning& warning = *report->add_warnings();
    warning.set_reason("overloaded");
    warning.set_model(model.name());
  }
  return {"a:1", report, "", 0};
}

TEST(TopViewTest, ManyModelsScrollAndWarningsAreCounted) {
  const Fleet fleet = MergeReports({Many(40)});
  TopLayout layout;
  layout.columns = 80;
  layout.rows = 24;
  layout.message = "keys";
  TopScreen screen = DrawTop(fleet, layout);
  EXPECT_THAT(screen.lines, ::testing::SizeIs(24));
  EXPECT_THAT(screen.lines, Contains(HasSubstr("models 1 to 13 of 40; arrows scroll")));
  EXPECT_THAT(screen.lines, AllOf(Contains(HasSubstr("m00 ")), Contains(HasSubstr("m12 "))));
  EXPECT_THAT(screen.lines, Not(Contains(HasSubstr("m13 "))));
  EXPECT_THAT(screen.lines, Contains("... 36 more warnings"));
  EXPECT_EQ(screen.page_models, 13u);

  layout.first_model = 1000;  // past the end: the last page, a full one
  screen = DrawTop(fleet, layout);
  EXPECT_EQ(screen.first_model, 27u);
  EXPECT_THAT(screen.lines, Contains(HasSubstr("models 28 to 40 of 40")));
  EXPECT_THAT(screen.lines, Contains(HasSubstr("m39 ")));

  layout.rows = 100;
  screen = DrawTop(fleet, layout);
  EXPECT_EQ(screen.first_model, 0u);
  EXPECT_THAT(screen.lines, Contains(HasSubstr("m00 ")));
  EXPECT_THAT(screen.lines, Not(Contains(HasSubstr("scroll"))));
}

TEST(TopViewTest, ALowTerminalShowsSomeOfEverything) {
  TopLayout layout;
  layout.columns = 80;
  layout.rows = 5;
  const std::vector<std::string> lines = TopLines(MergeReports({Busy("a:1")}), layout);
  EXPECT_THAT(lines, ::testing::ElementsAre(HasSubstr("a:1"), HasSubstr("MODEL"),
                                            HasSubstr("fmnist_wide_w1a1"),
                                            HasSubstr("models 1 to 1 of 5"), "2 warnings"));
}

TEST(TopViewTest, WhatAServerSaysCannotSteerTheTerminal) {
  TargetReport evil = Busy("\x1b[2Jhost:1");
  auto report = std::make_shared<pb::Report>(*evil.report);
  report->mutable_models(0)->set_name("\x1b]0;owned\x07\x1b[31mred\u202E日本");
  report->mutable_warnings(0)->set_message("first\r\nsecond\x1b[1A");
  report->mutable_warnings(0)->set_reason("\x1b[5m");
  evil.report = report;
  const TargetReport down{"b:1", nullptr, "\x1b[7mno\n", 0};
  for (const size_t columns : {size_t{0}, size_t{33}, size_t{90}}) {
    TopLayout layout;
    layout.columns = columns;
    const std::string text = Text(TopLines(MergeReports({evil, down}), layout));
    EXPECT_FALSE(absl::StrContains(text, '\x1b')) << text;
    EXPECT_FALSE(absl::StrContains(text, '\r'));
    EXPECT_FALSE(absl::StrContains(text, '\x07'));
    EXPECT_FALSE(absl::StrContains(text, "\u202E"));
  }
  TopLayout coloured;
  coloured.colours = true;
  const std::string text = Text(TopLines(MergeReports({evil, down}), coloured));
  EXPECT_FALSE(absl::StrContains(text, "\x1b[2J"));
  EXPECT_FALSE(absl::StrContains(text, "\x1b[5m"));
}

TEST(TopViewTest, SeveralServersHaveALineEachAndAColumn) {
  TargetReport stale = Busy("b:1");
  stale.age_seconds = 42;
  stale.stale = true;
  const TargetReport down{"c:1", nullptr, "c:1 cannot be reached", 0};
  std::vector<std::string> lines =
      TopLines(MergeReports({Busy("a:1"), Busy("d:1"), stale, down}), {});
  EXPECT_THAT(LineOf(lines, "b:1 "), HasSubstr("LAST HEARD 42 s AGO"));
  EXPECT_THAT(lines, Contains(HasSubstr("c:1 cannot be reached")));
  EXPECT_THAT(LineOf(lines, "MODEL"), HasSubstr(" ON "));
  EXPECT_THAT(LineOf(lines, "fmnist_wide_w1a1 "),
              AllOf(HasSubstr("16,240"), HasSubstr("overload 2/2")));
  // What was last heard of the only server, rather than nothing.
  lines = TopLines(MergeReports({stale, down}), {});
  EXPECT_THAT(LineOf(lines, "fmnist_wide_w1a1 "), HasSubstr("8,120"));
}

TEST(TopViewTest, OneModelOnly) {
  TopLayout layout;
  layout.model = "digits_w1a1";
  const std::vector<std::string> lines = TopLines(MergeReports({Busy("a:1")}), layout);
  EXPECT_THAT(lines, Contains(HasSubstr("digits_w1a1 ")));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("imagenet"))));
  layout.model = "none\x1b";
  EXPECT_THAT(TopLines(MergeReports({Busy("a:1")}), layout),
              Contains("no model is called 'none?'"));
}

TEST(TopViewTest, TimesUntil) {
  EXPECT_EQ(UntilText(NAN), "-");
  EXPECT_EQ(UntilText(-1), "-");
  EXPECT_EQ(UntilText(0), "now");
  EXPECT_EQ(UntilText(45.2), "45 s");
  EXPECT_EQ(UntilText(600), "10 min");
}

}  // namespace
}  // namespace bitmill
