#include "backends/cpu/arena_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/aligned_buffer.h"

namespace bitmill {
namespace {

bool AliveTogether(const ArenaRequest& a, const ArenaRequest& b) {
  return a.first_use <= b.last_use && b.first_use <= a.last_use;
}

int64_t LargestSumAlive(const std::vector<ArenaRequest>& requests, int32_t steps) {
  int64_t largest = 0;
  for (int32_t step = 0; step < steps; ++step) {
    int64_t sum = 0;
    for (const ArenaRequest& request : requests) {
      if (request.first_use <= step && step <= request.last_use) sum += request.bytes;
    }
    largest = std::max(largest, sum);
  }
  return largest;
}

std::vector<ArenaRequest> RandomRequests(std::mt19937& random, int32_t steps) {
  std::vector<ArenaRequest> requests(random() % 40);
  for (ArenaRequest& request : requests) {
    request.bytes = static_cast<int64_t>(random() % 5000);
    request.first_use = static_cast<int32_t>(random() % 16);
    request.last_use = std::min(steps - 1, request.first_use + static_cast<int32_t>(random() % 5));
  }
  return requests;
}

TEST(ArenaPlannerTest, BuffersAliveTogetherNeverOverlap) {
  constexpr int32_t kSteps = 16;
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    const std::vector<ArenaRequest> requests = RandomRequests(random, kSteps);
    const ArenaPlan plan = PlanArena(requests);
    ASSERT_EQ(plan.offsets.size(), requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      const int64_t end = plan.offsets[i] + requests[i].bytes;
      ASSERT_GE(plan.offsets[i], 0);
      ASSERT_EQ(plan.offsets[i] % kCacheLineBytes, 0);
      ASSERT_LE(end, plan.bytes);
      for (size_t j = 0; j < i; ++j) {
        if (!AliveTogether(requests[i], requests[j])) continue;
        const bool apart =
            end <= plan.offsets[j] || plan.offsets[j] + requests[j].bytes <= plan.offsets[i];
        ASSERT_TRUE(apart || requests[i].bytes == 0 || requests[j].bytes == 0);
      }
    }
    ASSERT_GE(plan.bytes, LargestSumAlive(requests, kSteps));
  }
}

TEST(ArenaPlannerTest, BuffersThatFollowEachOtherShareMemory) {
  const std::vector<ArenaRequest> requests = {
      {.bytes = 4096, .first_use = 0, .last_use = 1},
      {.bytes = 4096, .first_use = 1, .last_use = 2},
      {.bytes = 4096, .first_use = 2, .last_use = 3},
      {.bytes = 4096, .first_use = 3, .last_use = 4},
  };
  EXPECT_EQ(PlanArena(requests).bytes, 2 * 4096);
}

TEST(ArenaPlannerTest, SmallBufferFillsTheGapBetweenLargeOnes) {
  const std::vector<ArenaRequest> requests = {
      {.bytes = 1024, .first_use = 0, .last_use = 1},  // dies and leaves a gap
      {.bytes = 512, .first_use = 0, .last_use = 3},
      {.bytes = 256, .first_use = 2, .last_use = 3},
  };
  const ArenaPlan plan = PlanArena(requests);
  EXPECT_EQ(plan.offsets[2], 0);
  EXPECT_EQ(plan.bytes, 1024 + 512);
}

TEST(ArenaPlannerTest, NothingNeedsNothing) { EXPECT_EQ(PlanArena({}).bytes, 0); }

}  // namespace
}  // namespace bitmill
