// What a thread takes next in a pipeline, without threads.
#include "backends/parallel/pipeline_progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

namespace bitmill {
namespace {

TEST(PipelineProgressTest, StagesFollowOneAnother) {
  PipelineProgress progress({1, 1}, 2, 2, 2, 2);
  EXPECT_EQ(progress.Next(1), 0U) << "nothing is there for the second yet";
  EXPECT_EQ(progress.Take(0), 0);
  EXPECT_EQ(progress.Next(1), 2U) << "the first is busy";
  progress.SetDone(0, 0);
  EXPECT_EQ(progress.Next(0), 0U) << "its own stage";
  EXPECT_EQ(progress.Next(1), 1U);
}

TEST(PipelineProgressTest, AStageOnADeviceIsTakenTwiceWhenNothingElseIsToBeDone) {
  PipelineProgress progress({2, 1}, 2, 3, 3, 1);
  EXPECT_EQ(progress.Take(progress.Next(0)), 0);
  EXPECT_EQ(progress.Next(0), 0U);
  EXPECT_EQ(progress.Take(0), 1);
  EXPECT_EQ(progress.Next(0), 2U) << "two at a time";
  progress.SetDone(0, 1);
  EXPECT_EQ(progress.Next(0), 2U) << "the first is still missing";
  progress.SetDone(0, 0);
  EXPECT_EQ(progress.Next(0), 1U) << "an idle stage, the last one first";
}

// Whatever ends first: chunks go through all stages in order, no stage computes more than it may,
// and never are more than `between` of them between two stages.
TEST(PipelineProgressTest, EveryOrderOfEndingIsRight) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 300; ++trial) {
    const size_t stages = 2 + random() % 4;
    const int64_t chunks = 1 + random() % 9;
    std::array<int, kMostParts> at_a_time{};
    int most = 1;
    for (size_t s = 0; s < stages; ++s) {
      at_a_time[s] = 1 + static_cast<int>(random() % 2);
      most = std::max(most, at_a_time[s]);
    }
    const size_t threads = 1 + random() % 5;
    PipelineProgress progress(at_a_time, stages, chunks, most + 1, threads);
    std::vector<std::pair<size_t, int64_t>> running;
    std::vector<std::vector<bool>> ended(stages, std::vector<bool>(static_cast<size_t>(chunks)));
    const auto first_missing = [&](size_t s) {
      return std::find(ended[s].begin(), ended[s].end(), false) - ended[s].begin();
    };
    while (!progress.complete()) {
      const size_t stage = running.size() < threads ? progress.Next(random() % threads) : stages;
      if (stage < stages) {
        const int64_t number = progress.Take(stage);
        ASSERT_LT(number, chunks);
        running.emplace_back(stage, number);
        ASSERT_LE(std::count_if(running.begin(), running.end(),
                                [&](const auto& one) { return one.first == stage; }),
                  at_a_time[stage]);
        if (stage > 0) {
          ASSERT_TRUE(ended[stage - 1][static_cast<size_t>(number)]);
        }
        if (stage + 1 < stages) {
          ASSERT_LE(number - first_missing(stage + 1), most);
        }
        continue;
      }
      ASSERT_FALSE(running.empty()) << "nobody would go on";
      const size_t one = random() % running.size();
      ended[running[one].first][static_cast<size_t>(running[one].second)] = true;
      progress.SetDone(running[one].first, running[one].second);
      running.erase(running.begin() + static_cast<int64_t>(one));
    }
    for (size_t s = 0; s < stages; ++s) EXPECT_EQ(first_missing(s), chunks);
  }
}

}  // namespace
}  // namespace bitmill
