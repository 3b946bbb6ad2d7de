#include "server/schedule/timer_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <vector>

#include "base/mutex.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

constexpr MonotonicNanos kMillisecond = 1'000'000;

TEST(TimerQueueTest, CallsInTheOrderOfTheirTimesAndNotBefore) {
  const SystemClock clock{};
  Mutex mutex;
  std::vector<int> order;
  std::promise<void> last;
  TimerQueue timers(clock);
  const MonotonicNanos start = clock.Now();
  const auto add = [&](MonotonicNanos after, int id) {
    timers.Add(start + after, [&, after, id] {
      EXPECT_GE(clock.Now(), start + after);
      MutexLock lock(&mutex);
      order.push_back(id);
      if (order.size() == 3) last.set_value();
    });
  };
  add(30 * kMillisecond, 3);
  add(10 * kMillisecond, 1);
  add(20 * kMillisecond, 2);
  last.get_future().wait();
  MutexLock lock(&mutex);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(TimerQueueTest, MayAddFromWithinACall) {
  const SystemClock clock{};
  std::promise<void> done;
  TimerQueue timers(clock);
  timers.Add(0, [&] { timers.Add(0, [&] { done.set_value(); }); });
  done.get_future().wait();
}

TEST(TimerQueueTest, DropsWhatItHoldsWhenItGoes) {
  const SystemClock clock{};
  const auto held = std::make_shared<int>();
  {
    TimerQueue timers(clock);
    timers.Add(clock.Now() + 3'600'000 * kMillisecond, [held] { FAIL(); });
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace bitmill
