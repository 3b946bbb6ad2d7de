#include "server/schedule/fair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>

namespace bitmill {
namespace {

class FairQueueTest : public ::testing::Test {
 protected:
  void Push(char name) {
    std::shared_ptr<Flow>& flow = flows_[name];
    if (flow == nullptr) flow = std::make_shared<Flow>();
    queue_.Push(flow, [this, name] { ran_.push_back(name); });
  }
  FairQueue::Work Pop() {
    FairQueue::Work work = queue_.Pop();
    work.run();
    return work;
  }
  // Pops, and is done at once, so many times; each flow's work takes what `cost` says.
  std::string Run(int times, const std::map<char, MonotonicNanos>& cost, bool push_again = false) {
    ran_.clear();
    for (int i = 0; i < times; ++i) {
      const FairQueue::Work work = Pop();
      queue_.Finish(work, cost.at(ran_.back()));
      if (push_again) Push(ran_.back());
    }
    return ran_;
  }
  static int64_t Count(const std::string& text, char name) {
    return std::count(text.begin(), text.end(), name);
  }

  FairQueue queue_;
  std::map<char, std::shared_ptr<Flow>> flows_;
  std::string ran_;
};

TEST_F(FairQueueTest, WorkOfAFlowRunsInItsOrder) {
  const auto flow = std::make_shared<Flow>();
  std::string order;
  for (const char name : {'1', '2', '3'}) queue_.Push(flow, [&order, name] { order += name; });
  for (int i = 0; i < 3; ++i) queue_.Finish(Pop(), 5);
  EXPECT_EQ(order, "123");
}

TEST_F(FairQueueTest, FlowsOfEqualCostTakeTurns) {
  Push('a');
  Push('b');
  EXPECT_EQ(Run(6, {{'a', 10}, {'b', 10}}, true), "ababab");
}

TEST_F(FairQueueTest, TimeIsSharedNotTurns) {
  Push('s');
  Push('f');
  const std::string ran = Run(110, {{'s', 1000}, {'f', 100}}, true);
  EXPECT_NEAR(Count(ran, 'f'), 10 * Count(ran, 's'), 15) << ran;
}

TEST_F(FairQueueTest, AFlowThatWasIdleHasNoCredit) {
  Push('a');
  Run(100, {{'a', 1000}}, true);
  Push('b');
  const std::string ran = Run(20, {{'a', 1000}, {'b', 1000}}, true);
  EXPECT_EQ(ran[0], 'b') << "it has had nothing";
  EXPECT_NEAR(Count(ran, 'a'), Count(ran, 'b'), 2) << ran;
}

TEST_F(FairQueueTest, AFastFlowPassesTheQueueOfASlowOne) {
  Push('s');
  Run(1, {{'s', 1000}});
  for (int i = 0; i < 5; ++i) Push('s');
  Run(1, {{'s', 1000}});
  Push('f');
  EXPECT_EQ(Run(2, {{'s', 1000}, {'f', 10}}), "fs");
}

// With two workers the second asks before the first is done.
TEST_F(FairQueueTest, WorkThatRunsIsChargedForBeforeItEnds) {
  Push('a');
  Push('b');
  Run(2, {{'a', 1000}, {'b', 1000}});
  for (int i = 0; i < 2; ++i) {
    Push('a');
    Push('b');
  }
  ran_.clear();
  const FairQueue::Work first = Pop();
  const FairQueue::Work second = Pop();
  EXPECT_EQ(ran_, "ab");
  queue_.Finish(first, 1000);
  queue_.Finish(second, 1000);
}

}  // namespace
}  // namespace bitmill
