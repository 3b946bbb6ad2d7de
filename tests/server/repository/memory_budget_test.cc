#include "server/repository/memory_budget.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

MemoryBudget Parsed(const char* text) {
  const absl::StatusOr<MemoryBudget> budget = ParseMemoryBudget(text, 0.8);
  EXPECT_TRUE(budget.ok()) << budget.status();
  return budget.value_or(MemoryBudget{.share = -1, .bytes = -1});
}

TEST(MemoryBudgetTest, ReadsBytesWithTheirUnits) {
  EXPECT_EQ(Parsed("8589934592").bytes, 8589934592);
  EXPECT_EQ(Parsed("512MiB").bytes, int64_t{512} << 20);
  EXPECT_EQ(Parsed("1.5gib").bytes, int64_t{1536} << 20);
  EXPECT_EQ(Parsed(" 2 GB ").bytes, 2'000'000'000);
  EXPECT_EQ(Parsed("100b").bytes, 100);
  EXPECT_EQ(Parsed("1B").bytes, 1);
}

TEST(MemoryBudgetTest, ReadsSharesAndWords) {
  EXPECT_EQ(Parsed("0.5").share, 0.5);
  EXPECT_EQ(Parsed("1").share, 1);
  EXPECT_EQ(Parsed("auto").share, 0.8);
  EXPECT_EQ(Parsed("off").share, 0);
  EXPECT_EQ(Parsed("OFF").bytes, 0);
}

TEST(MemoryBudgetTest, RefusesWhatIsNone) {
  for (const char* text : {"", "much", "-1", "0", "0GiB", "1.2.3", "5 parsecs", "GiB", "1e30",
                           "0.1B", "nan", "inf", "4 G iB", "99999999999TB"}) {
    const absl::Status status = ParseMemoryBudget(text, 0.8).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("512MiB"));
  }
}

TEST(MemoryBudgetTest, AShareOfWhatIsNotKnownIsNoLimit) {
  EXPECT_EQ(BudgetBytes({.share = 0.5}, 1000), 500);
  EXPECT_EQ(BudgetBytes({.share = 0.5}, 0), 0);
  EXPECT_EQ(BudgetBytes({.bytes = 70}, 0), 70);
  EXPECT_EQ(BudgetBytes({}, 1000), 0);
}

TEST(MemoryBudgetTest, WritesBytesForPeople) {
  EXPECT_EQ(BytesText(37), "37 bytes");
  EXPECT_EQ(BytesText(1536), "1.50 KiB");
  EXPECT_EQ(BytesText(int64_t{3} << 40), "3.00 TiB");
}

}  // namespace
}  // namespace bitmill
