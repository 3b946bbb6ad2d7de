#include "tools/text/display_text.h"

#include "gtest/gtest.h"

namespace bitmill {
namespace {

TEST(DisplayTextTest, EscapeSequencesCannotSteerTheTerminal) {
  EXPECT_EQ(Printable("\x1b[31mred\x1b]0;title\x07"), "?[31mred?]0;title?");
  EXPECT_EQ(Printable("a\nb\rc\td\x7f"), "a?b?c?d?");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "?31m")
      << "a control sequence as one character";
  EXPECT_EQ(Printable(absl::string_view("a\0b", 3)), "a?b");
}

TEST(DisplayTextTest, WhatTurnsTheDirectionOrCannotBeSeenIsLeftOut) {
  EXPECT_EQ(Printable("abc\u202Efed\u2066x\u200By\uFEFFz"), "abcfedxyz");
}

TEST(DisplayTextTest, WhatIsNoUtf8IsReplacedByteByByte) {
  EXPECT_EQ(Printable("a\xFF"
                      "b"),
            "a\uFFFDb");
  EXPECT_EQ(Printable("\xC3"), "\uFFFD") << "cut off";
  EXPECT_EQ(Printable("\xC0\xAF"), "\uFFFD\uFFFD") << "longer than needed";
  EXPECT_EQ(Printable("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD") << "half of a pair";
  EXPECT_EQ(Printable("日本 é ок"), "日本 é ок");
}

TEST(DisplayTextTest, WidthIsInColumns) {
  EXPECT_EQ(DisplayWidth(""), 0u);
  EXPECT_EQ(DisplayWidth("digits"), 6u);
  EXPECT_EQ(DisplayWidth("日本語"), 6u);
  EXPECT_EQ(DisplayWidth("модель"), 6u);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1u) << "a letter and its accent";
  EXPECT_EQ(DisplayWidth("🚀"), 2u);
}

TEST(DisplayTextTest, FitsIntoExactlySoManyColumns) {
  EXPECT_EQ(Fit("ab", 4), "ab  ");
  EXPECT_EQ(Fit("ab", 4, Align::kRight), "  ab");
  EXPECT_EQ(Fit("abcdef", 4), "abc~");
  EXPECT_EQ(Fit("日本語", 6), "日本語");
  EXPECT_EQ(Fit("日本語", 5), "日本~");
  EXPECT_EQ(Fit("日本語", 4), "日~ ") << "a wide character is not cut in two";
  EXPECT_EQ(Fit("abc", 0), "");
  EXPECT_EQ(Cut("abc", 5), "abc");
}

}  // namespace
}  // namespace bitmill
