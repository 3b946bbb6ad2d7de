#include "server/schedule/helper_board.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

const auto kNothing = [] {};

TEST(HelperBoardTest, GivesEachPlaceOnce) {
  HelperBoard board(3);
  EXPECT_FALSE(board.occupied());
  const std::set<int> places = {board.Enter(), board.Enter(), board.Enter()};
  EXPECT_EQ(places, (std::set<int>{0, 1, 2}));
  EXPECT_EQ(board.Enter(), -1);
  EXPECT_TRUE(board.occupied());
  board.Leave(1);
  EXPECT_EQ(board.Enter(), 1);
  board.Leave(-1);  // none
  for (const int place : places) board.Leave(place);
  EXPECT_FALSE(board.occupied());
}

TEST(HelperBoardTest, WithoutAPlaceTheCallerWorksAlone) {
  HelperBoard board(1);
  std::vector<int> slots;
  const auto work = [&](int slot) {
    slots.push_back(slot);
    EXPECT_FALSE(board.Help(kNothing, kNothing));
  };
  board.Run(-1, 4, work);
  board.Run(board.Enter(), 1, work);
  EXPECT_EQ(slots, (std::vector<int>{0, 0}));
}

// A helper comes while the caller works, here on the same thread.
TEST(HelperBoardTest, HelpersGetSlotsOfTheirOwnUntilTheFirstReturns) {
  HelperBoard board(2);
  const int place = board.Enter();
  std::vector<int> slots;
  const auto work = [&](int slot) {
    slots.push_back(slot);
    // Slot 2 is the last of three; when it has returned, nothing is left for slots 1 and 0 either.
    EXPECT_EQ(board.Help(kNothing, kNothing), slot < 2);
    EXPECT_FALSE(board.Help(kNothing, kNothing));
  };
  board.Run(place, 3, work);
  EXPECT_EQ(slots, (std::vector<int>{0, 1, 2}));
  EXPECT_FALSE(board.Help(kNothing, kNothing)) << "the work is over";
}

TEST(HelperBoardTest, ReturnsAfterAllHelpersHave) {
  constexpr int kRounds = 2000, kWidth = 3;
  ThreadTeam team(kWidth);
  const int place = team.Enter(kWidth);
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<int> next{0};
    std::vector<int> done(64, 0);  // plain: only the end of Run() makes it ours again
    std::atomic<int> used{0};
    team.Run(place, kWidth, [&](int slot) {
      EXPECT_EQ(used.fetch_or(1 << slot) & (1 << slot), 0) << "slot " << slot << " twice";
      for (int i = next.fetch_add(1); i < 64; i = next.fetch_add(1)) {
        done[static_cast<size_t>(i)] += 1;
        if (i % 16 == 0) std::this_thread::yield();
      }
    });
    ASSERT_EQ(done, std::vector<int>(64, 1));
  }
  team.Leave(place);
  EXPECT_GT(team.helped.load(), 0);
}

TEST(HelperBoardTest, ComputationsShareTheHelpers) {
  ThreadTeam team(3);
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(4, 0);
  for (size_t c = 0; c < sums.size(); ++c) {
    callers.emplace_back([&, c] {
      for (int round = 0; round < 300; ++round) {
        const int place = team.Enter(3);
        std::atomic<int> next{0};
        std::atomic<int64_t> sum{0};
        team.Run(place, 3, [&](int) {
          for (int i = next.fetch_add(1); i < 32; i = next.fetch_add(1)) sum.fetch_add(i);
        });
        team.Leave(place);
        sums[c] += sum.load();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sums, std::vector<int64_t>(4, 300 * 31 * 32 / 2));
}

}  // namespace
}  // namespace bitmill
