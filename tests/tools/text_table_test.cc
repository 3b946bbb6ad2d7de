#include "tools/text/text_table.h"

#include "gtest/gtest.h"

namespace bitmill {
namespace {

TEST(TextTableTest, NumbersAreSetToTheRightAndTextToTheLeft) {
  TextTable table({"name", "count", "time"});
  table.AddRow({"a", "5", "10 us"});
  table.AddRow({"longer", "1,234", "-"});
  EXPECT_EQ(table.Text(),
            "name    count   time\n"
            "a           5  10 us\n"
            "longer  1,234      -\n");
}

TEST(TextTableTest, MarkdownMarksTheAlignment) {
  TextTable table({"name", "count"});
  table.AddRow({"a", "5"});
  EXPECT_EQ(table.Markdown(), "| name | count |\n| --- | ---: |\n| a | 5 |\n");
}

TEST(TextTableTest, MarkdownCellsKeepTheirBars) {
  TextTable table({"a|b"});
  table.AddRow({"x|y"});
  EXPECT_EQ(table.Markdown(), "| a\\|b |\n| --- |\n| x\\|y |\n");
}

TEST(TextTableTest, NumbersReadWell) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1000), "1,000");
  EXPECT_EQ(WithCommas(-1234567.4), "-1,234,567");
  EXPECT_EQ(Duration(1500), "1.50 us");
  EXPECT_EQ(Duration(970e3), "970 us");
  EXPECT_EQ(Duration(1.24e6), "1.24 ms");
  EXPECT_EQ(Duration(2.1e9), "2.10 s");
  EXPECT_EQ(Bytes(512), "512 B");
  EXPECT_EQ(Bytes(39014), "38.1 KiB");
  EXPECT_EQ(Bytes(1.2 * 1048576), "1.2 MiB");
}

}  // namespace
}  // namespace bitmill
