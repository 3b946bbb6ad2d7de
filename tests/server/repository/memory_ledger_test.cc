#include "server/repository/memory_ledger.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::shared_ptr<MemoryLedger> LedgerOf(int64_t host, int64_t device = 0) {
  return std::make_shared<MemoryLedger>(
      MemoryLimits{.host = {.bytes = host}, .device = {.bytes = device}});
}

std::vector<MemoryUse> Host(int64_t bytes) { return {{kHostMemory, bytes, 0}}; }

std::string Why(const MemoryLedger& ledger, const MemoryLedger::Claimant& who, int64_t bytes) {
  const absl::Status status = ledger.CheckFits(who, Host(bytes));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  return std::string(status.message());
}

TEST(MemoryLedgerTest, GivesUpToTheBudgetAndTakesBack) {
  const auto ledger = LedgerOf(100);
  std::unique_ptr<MemoryHold> a = ledger->TryClaim({"a", 1}, Host(60));
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(ledger->TryClaim({"b", 1}, Host(41)), nullptr);
  const std::unique_ptr<MemoryHold> b = ledger->TryClaim({"b", 1}, Host(40));
  EXPECT_NE(b, nullptr);
  EXPECT_EQ(ledger->Devices().front().held_bytes, 100);
  a.reset();
  EXPECT_EQ(ledger->Devices().front().held_bytes, 40);
  EXPECT_NE(ledger->TryClaim({"c", 1}, Host(60)), nullptr);
}

TEST(MemoryLedgerTest, WithoutABudgetEverythingFits) {
  const auto ledger = LedgerOf(0);
  const auto hold = ledger->TryClaim({"a", 1}, Host(int64_t{1} << 60));
  EXPECT_NE(hold, nullptr);
  EXPECT_TRUE(ledger->CheckFits({"b", 1}, Host(int64_t{1} << 60)).ok());
  EXPECT_THAT(ledger->Lacking(Host(int64_t{1} << 60)), IsEmpty());
}

TEST(MemoryLedgerTest, EachDeviceHasABudgetOfItsOwn) {
  const auto ledger = std::make_shared<MemoryLedger>(
      MemoryLimits{.host = {.bytes = 100}, .device = {.share = 0.5}});
  const auto on = [](const char* device, int64_t bytes) {
    return std::vector<MemoryUse>{{kHostMemory, 10, 0}, {device, bytes, 200}};
  };
  const auto first = ledger->TryClaim({"a", 1}, on("gpu 0", 100));
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(ledger->TryClaim({"b", 1}, on("gpu 0", 1)), nullptr);
  EXPECT_THAT(ledger->Lacking(on("gpu 0", 1)), ElementsAre("gpu 0"));
  EXPECT_NE(ledger->TryClaim({"b", 1}, on("gpu 1", 100)), nullptr);
  EXPECT_EQ(ledger->HeldBy("a", {"gpu 0"}), 100);
  EXPECT_EQ(ledger->HeldBy("a", {"gpu 1"}), 0);
}

TEST(MemoryLedgerTest, ARefusalClaimsNothingOfAnyDevice) {
  const auto ledger = LedgerOf(100, 10);
  EXPECT_EQ(ledger->TryClaim({"a", 1}, {{kHostMemory, 50, 0}, {"gpu", 11, 0}}), nullptr);
  EXPECT_EQ(ledger->Devices().back().held_bytes, 0);
}

TEST(MemoryLedgerTest, AModelFitsIfThoseThatStayLeaveRoom) {
  const auto ledger = LedgerOf(100);
  const auto evictable = ledger->TryClaim({"old", 1}, Host(60));
  EXPECT_TRUE(ledger->CheckFits({"new", 1}, Host(100)).ok());
  const auto pinned = ledger->TryClaim({"pinned", 3, false}, Host(30));
  EXPECT_TRUE(ledger->CheckFits({"new", 1}, Host(70)).ok());
  const std::string why = Why(*ledger, {"new", 1}, 71);
  EXPECT_THAT(why, HasSubstr("model 'new' version 1 needs 71 bytes (71 bytes) of memory on host"));
  EXPECT_THAT(why, HasSubstr("budget of 100 bytes (--memory-budget) 70 bytes can be had"));
  EXPECT_THAT(why, HasSubstr("'old' version 1 holds 60 bytes,"));
  EXPECT_THAT(why, HasSubstr("'pinned' version 3 holds 30 bytes and is not evicted"));
}

TEST(MemoryLedgerTest, TheModelsOwnVersionsStayWhileANewOneIsLoaded) {
  const auto ledger = LedgerOf(100);
  const auto old = ledger->TryClaim({"m", 1}, Host(60));
  EXPECT_TRUE(ledger->CheckFits({"m", 2}, Host(40)).ok());
  EXPECT_THAT(Why(*ledger, {"m", 2}, 41), HasSubstr("'m' version 1 holds 60 bytes"));
}

TEST(MemoryLedgerTest, AModelThatStaysLeavesRoomForTheOthers) {
  const auto ledger = LedgerOf(100);
  ledger->NoteEvicted("away", Host(50));
  EXPECT_TRUE(ledger->CheckFits({"pinned", 1, false}, Host(50)).ok());
  EXPECT_THAT(Why(*ledger, {"pinned", 1, false}, 51),
              HasSubstr("too little for 'away', which needs 50 bytes"));
  EXPECT_TRUE(ledger->CheckFits({"other", 1}, Host(100)).ok());
  ledger->ForgetEvicted("away");
  EXPECT_TRUE(ledger->CheckFits({"pinned", 1, false}, Host(100)).ok());
}

TEST(MemoryLedgerTest, NamesTheLargestHoldersOfMany) {
  const auto ledger = LedgerOf(100);
  std::vector<std::unique_ptr<MemoryHold>> holds;
  for (int i = 1; i <= 8; ++i) {
    holds.push_back(ledger->TryClaim({absl::StrCat("m", i), 1, false}, Host(i)));
  }
  const std::string why = Why(*ledger, {"new", 1}, 100);
  EXPECT_THAT(why, HasSubstr("'m8' version 1 holds 8 bytes"));
  EXPECT_THAT(why, HasSubstr("and 3 more"));
  EXPECT_THAT(why, Not(HasSubstr("'m3'")));
}

}  // namespace
}  // namespace bitmill
