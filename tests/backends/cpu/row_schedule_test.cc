// How many rows run together: the choice by itself, and plans whose steps differ in it.
#include "backends/cpu/row_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "backends/cpu/cpu_executable.h"
#include "backends/cpu/plan.h"
#include "tests/backends/cpu/plan_runner.h"
#include "tests/backends/cpu/random_lowered.h"
#include "tests/fakes/thread_team.h"

namespace bitmill {
namespace {

using testing::ElementsAre;

constexpr int64_t kCache = int64_t{2} << 20;

// Values of a row that a step reads and writes, half of them its input.
ScheduledStep Step(int64_t value_bytes, int64_t weight_bytes) {
  return {value_bytes, value_bytes, value_bytes / 2, weight_bytes, true};
}

TEST(RowScheduleTest, SmallNetworksRunAllRowsTogether) {
  const std::vector<ScheduledStep> steps(5, Step(4'000, 20'000));
  const RowSchedule schedule = ScheduleRows(steps, 32, kCache);
  EXPECT_EQ(schedule.chunk_rows, 32);
  EXPECT_THAT(schedule.segments, ElementsAre(RowSegment{0, 5, 32}));
}

TEST(RowScheduleTest, LargeMapsOfFewWeightsRunRowByRow) {
  const std::vector<ScheduledStep> steps(5, Step(1'000'000, 1'000));
  const RowSchedule schedule = ScheduleRows(steps, 32, kCache);
  EXPECT_EQ(schedule.chunk_rows, 1);
  EXPECT_THAT(schedule.segments, ElementsAre(RowSegment{0, 5, 1}));
}

// As networks of images are.
TEST(RowScheduleTest, LateStepsOfManyWeightsRunRowsTogether) {
  const std::vector<ScheduledStep> steps = {Step(1'000'000, 1'000), Step(1'000'000, 5'000),
                                            Step(100'000, 300'000), Step(100'000, 300'000)};
  const RowSchedule schedule = ScheduleRows(steps, 8, kCache);
  EXPECT_EQ(schedule.chunk_rows, 8);
  EXPECT_THAT(schedule.segments, ElementsAre(RowSegment{0, 2, 1}, RowSegment{2, 4, 8}));
}

// Waiting for the other rows costs more than the weights do.
TEST(RowScheduleTest, DoesNotChangeGroupsForLittle) {
  const std::vector<ScheduledStep> steps = {
      Step(1'000'000, 1'000), Step(1'000'000, 1'000), {30'000, 30'000, 900'000, 1'000, true}};
  EXPECT_THAT(ScheduleRows(steps, 32, kCache).segments, ElementsAre(RowSegment{0, 3, 1}));
}

TEST(RowScheduleTest, TakesAnyNumberOfRows) {
  const std::vector<ScheduledStep> steps(2, Step(4'000, 200'000));
  EXPECT_THAT(ScheduleRows(steps, 1, kCache).segments, ElementsAre(RowSegment{0, 2, 1}));
  EXPECT_THAT(ScheduleRows(steps, 9, kCache).segments, ElementsAre(RowSegment{0, 2, 9}));
}

constexpr int64_t kRows = 9;

std::vector<RowBytes> RandomRows(const Graph& graph, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0F, 2.0F);
  std::vector<RowBytes> rows(kRows);
  for (RowBytes& row : rows) {
    std::vector<float> values(
        static_cast<size_t>(ElementCount(graph.value(graph.inputs[0].value).shape)));
    for (float& value : values) value = normal(random);
    const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
    row.emplace_back(bytes, bytes + values.size() * sizeof(float));
  }
  return rows;
}

Plan PlanFor(const Graph& graph, int64_t max_rows, int threads, RowScheduler schedule) {
  absl::StatusOr<Plan> plan =
      BuildPlan(graph, *SelectKernels("auto"), max_rows, threads, nullptr, nullptr, schedule);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

// A schedule that no cost explains: which one a machine would choose depends on its kernels.
RowSchedule RandomSchedule(size_t steps, int64_t max_rows, std::mt19937& random) {
  RowSchedule schedule;
  for (size_t first = 0; first < steps;) {
    const size_t end = first + 1 + random() % (steps - first);
    const auto rows = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(max_rows));
    schedule.segments.push_back({first, end, rows});
    schedule.chunk_rows = std::max(schedule.chunk_rows, rows);
    first = end;
  }
  return schedule;
}

TEST(RowScheduleTest, GroupsOfRowsGiveTheBitsOfOneRow) {
  std::mt19937 random(31);
  ThreadTeam team(3);
  size_t rising = 0, falling = 0;
  for (int round = 0; round < 24; ++round) {
    const Graph graph = RandomResidual(random);
    const std::vector<RowBytes> rows = RandomRows(graph, random);
    const CpuExecutable one(SignatureOfLowered(graph), PlanFor(graph, 1, 1, ScheduleRows), 1,
                            "test");
    const auto want = RunRows(one, rows, 1);
    ASSERT_TRUE(want.ok()) << want.status();
    for (int drawn = 0; drawn < 3; ++drawn) {
      for (const int threads : {1, 3}) {
        Plan plan = PlanFor(graph, kRows, threads,
                            [&](absl::Span<const ScheduledStep> steps, int64_t max_rows, int64_t) {
                              return RandomSchedule(steps.size(), max_rows, random);
                            });
        if (plan.segments.front().rows < plan.segments.back().rows) ++rising;
        if (plan.segments.front().rows > plan.segments.back().rows) ++falling;
        std::fill(plan.step_micros.begin(), plan.step_micros.end(), 1e6);
        plan.row_micros = plan.parted_micros = 1e6;
        const CpuExecutable grouped(SignatureOfLowered(graph), std::move(plan), kRows, "test", "",
                                    threads > 1 ? &team : nullptr);
        SCOPED_TRACE(grouped.DescribePlan());
        for (const int64_t batch : {1, 2, 5, 9}) {
          const auto got = RunRows(grouped, rows, batch);
          ASSERT_TRUE(got.ok()) << got.status();
          ASSERT_TRUE(*got == *want) << "batch " << batch << ", threads " << threads;
        }
      }
    }
  }
  EXPECT_GT(rising, 8);
  EXPECT_GT(falling, 8);
}

}  // namespace
}  // namespace bitmill
