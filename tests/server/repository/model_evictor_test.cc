#include "server/repository/model_evictor.h"

#include <string>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kMilli = 1'000'000;
constexpr MonotonicNanos kNow = 10'000 * kMilli;

// Loaded long ago, used `used_ms` after that.
ModelTable::Resident Model(const char* name, int64_t used_ms) {
  return {.name = name,
          .evictable = true,
          .idle = true,
          .last_use_ns = 1000 * kMilli + used_ms * kMilli,
          .loaded_ns = 1000 * kMilli,
          .load_ns = 5 * kMilli};
}

std::string Victim(const std::vector<ModelTable::Resident>& residents, bool busy_too = false) {
  const ModelTable::Resident* const victim = ChooseVictim(residents, busy_too, kNow);
  return victim == nullptr ? "" : victim->name;
}

TEST(ChooseVictimTest, TakesTheOneThatWasUsedLongestAgo) {
  EXPECT_EQ(Victim({Model("a", 30), Model("b", 10), Model("c", 20)}), "b");
  EXPECT_EQ(Victim({}), "");
}

TEST(ChooseVictimTest, NeverOneThatIsNotEvictable) {
  ModelTable::Resident pinned = Model("pinned", 0);
  pinned.evictable = false;
  EXPECT_EQ(Victim({pinned, Model("a", 5)}), "a");
  EXPECT_EQ(Victim({pinned}, /*busy_too=*/true), "");
}

TEST(ChooseVictimTest, OneInUseOnlyWhenAskedAndNoneIsIdle) {
  ModelTable::Resident busy = Model("busy", 0);
  busy.idle = false;
  EXPECT_EQ(Victim({busy}), "");
  EXPECT_EQ(Victim({busy}, /*busy_too=*/true), "busy");
  EXPECT_EQ(Victim({busy, Model("idle", 50)}, /*busy_too=*/true), "idle");
}

TEST(ChooseVictimTest, OneThatIsWantedStaysAsLongAsItsLoadTook) {
  ModelTable::Resident fresh = Model("fresh", 0);
  fresh.loaded_ns = kNow - 300 * kMilli;
  fresh.last_use_ns = kNow - 200 * kMilli;
  fresh.load_ns = 400 * kMilli;
  EXPECT_EQ(Victim({fresh}), "");
  fresh.load_ns = 250 * kMilli;
  EXPECT_EQ(Victim({fresh}), "fresh");
  fresh.loaded_ns = kNow - 1001 * kMilli;
  fresh.load_ns = 60'000 * kMilli;
  EXPECT_EQ(Victim({fresh}), "fresh");
}

TEST(ChooseVictimTest, OneThatNobodyWantedMayGoAtOnce) {
  ModelTable::Resident unused = Model("unused", 0);
  unused.loaded_ns = kNow - 1;
  unused.last_use_ns = 0;
  EXPECT_EQ(Victim({unused}), "unused");
  // It counts as used when it was loaded.
  EXPECT_EQ(Victim({unused, Model("older", 0)}), "older");
}

}  // namespace
}  // namespace bitmill
