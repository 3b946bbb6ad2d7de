// What the benchmark of several threads says of models whose batches cannot run at a time, or can.
#include "tools/bench/model_timing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "tests/fakes/fake_executable.h"

namespace bitmill {
namespace {

constexpr auto kBatchTime = std::chrono::milliseconds(2);

double MedianMs(const RowTimes& times) {
  return static_cast<double>(times[times.size() / 2]) / 1e9;
}

class ManyThreadsTest : public ::testing::Test {
 protected:
  ManyTimes Time(int64_t rows, double seconds) {
    const SystemClock clock;
    const std::unique_ptr<TbbScheduler> scheduler =
        CreateTbbScheduler({.workers = 2, .io_threads = 1}, clock);
    absl::StatusOr<ManyTimes> times =
        TimeManyThreads(executable_, executable_, *scheduler, rows, seconds);
    EXPECT_TRUE(times.ok()) << times.status();
    return times.ok() ? *std::move(times) : ManyTimes{};
  }

  FakeExecutable executable_{IdentitySignature(DType::kFloat32, {4}), 8};
};

// The rate of each lane by itself, added up, would be half as much again.
TEST_F(ManyThreadsTest, BatchesThatTakeTurnsAreNoFasterSideBySide) {
  Mutex turn;
  executable_.before_run = [&](const BatchRows&) {
    MutexLock lock(&turn);
    std::this_thread::sleep_for(kBatchTime);
    return absl::OkStatus();
  };
  // A window of the asked time would hold less than a batch.
  const ManyTimes times = Time(1, 0.05);
  EXPECT_GE(times.side_by_side.size(), 10U);
  EXPECT_GE(times.side_by_side.front(), 1.9e9);  // picoseconds
  EXPECT_GE(MedianMs(times.side_by_side), 0.9 * MedianMs(times.alone));
}

TEST_F(ManyThreadsTest, RowsOfBatchesThatRunAtATimeCountTogether) {
  executable_.before_run = [](const BatchRows&) {
    std::this_thread::sleep_for(kBatchTime);
    return absl::OkStatus();
  };
  const ManyTimes times = Time(4, 0.05);
  EXPECT_GE(times.alone.front(), 0.5e9);
  EXPECT_GE(times.side_by_side.front(), 0.25e9);
  EXPECT_LT(MedianMs(times.side_by_side), 0.9 * MedianMs(times.alone));
}

}  // namespace
}  // namespace bitmill
