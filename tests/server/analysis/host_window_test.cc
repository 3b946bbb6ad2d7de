#include "server/analysis/host_window.h"

#include <gtest/gtest.h>

namespace bitmill {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// Two looks, five seconds apart, at a machine of four CPUs.
struct Looks {
  HostSample first{.at_ns = 10 * kSecond, .sometimes_at_ns = 10 * kSecond, .machine_cores = 4};
  HostSample last{.at_ns = 15 * kSecond, .sometimes_at_ns = 15 * kSecond, .machine_cores = 4};
};

TEST(HostWindowTest, NothingIsKnownOfEmptySamples) {
  const HostWindow window = WindowBetween(HostSample(), HostSample());
  EXPECT_EQ(window.seconds, 0);
  EXPECT_EQ(window.process_cpu_cores, 0);
  for (const double unknown :
       {window.machine_busy_cores, window.throttled_share, window.throttled_periods_share,
        window.run_queue_wait_cores, window.steal_share, window.psi_cpu_some,
        window.psi_memory_some, window.psi_memory_full, window.psi_io_some,
        window.psi_group_cpu_some, window.instructions_per_cycle}) {
    EXPECT_EQ(unknown, -1);
  }
  EXPECT_EQ(window.major_faults_per_s, 0);
  EXPECT_EQ(window.memory_limit_hits_per_s, 0);
  EXPECT_EQ(window.pending_write_bytes, -1);
}

TEST(HostWindowTest, TurnsCountersIntoRates) {
  Looks looks;
  looks.first.totals = {.process_cpu_ns = 0, .minor_faults = 100, .major_faults = 10};
  looks.first.totals.run_queue_wait_ns = 3 * kSecond;
  looks.first.totals.memory_limit_hits = 0;
  looks.last.totals = {.process_cpu_ns = 10 * kSecond, .minor_faults = 150, .major_faults = 20};
  looks.last.totals.run_queue_wait_ns = 8 * kSecond;
  looks.last.totals.memory_limit_hits = 15;
  const HostWindow window = WindowBetween(looks.first, looks.last);
  EXPECT_DOUBLE_EQ(window.seconds, 5);
  EXPECT_DOUBLE_EQ(window.process_cpu_cores, 2);
  EXPECT_DOUBLE_EQ(window.run_queue_wait_cores, 1);
  EXPECT_DOUBLE_EQ(window.minor_faults_per_s, 10);
  EXPECT_DOUBLE_EQ(window.major_faults_per_s, 2);
  EXPECT_DOUBLE_EQ(window.memory_limit_hits_per_s, 3);
}

TEST(HostWindowTest, MeasuresTheMachineByItsOwnTicks) {
  Looks looks;
  looks.first.totals.machine_busy_ticks = looks.first.totals.machine_steal_ticks =
      looks.first.totals.machine_ticks = 0;
  looks.last.totals.machine_busy_ticks = 600;
  looks.last.totals.machine_steal_ticks = 100;
  looks.last.totals.machine_ticks = 1'600;
  looks.first.totals.allowed_busy_ticks = 0;
  looks.last.totals.allowed_busy_ticks = 300;  // of 400 of one CPU
  looks.last.allowed_cores = 1;
  const HostWindow window = WindowBetween(looks.first, looks.last);
  EXPECT_DOUBLE_EQ(window.machine_busy_cores, 1.5);
  EXPECT_DOUBLE_EQ(window.allowed_busy_cores, 0.75);
  EXPECT_EQ(window.allowed_cores, 1);
  EXPECT_DOUBLE_EQ(window.steal_share, 0.0625);
}

TEST(HostWindowTest, PressureIsAShareOfTime) {
  Looks looks;
  looks.first.totals.cpu = {.some_us = 1'000'000, .full_us = 0};
  looks.last.totals.cpu = {.some_us = 3'500'000, .full_us = 0};
  looks.first.totals.group_memory = {.some_us = 0, .full_us = 0};
  looks.last.totals.group_memory = {.some_us = 500'000, .full_us = 250'000};
  const HostWindow window = WindowBetween(looks.first, looks.last);
  EXPECT_DOUBLE_EQ(window.psi_cpu_some, 0.5);
  EXPECT_DOUBLE_EQ(window.psi_group_memory_some, 0.1);
  EXPECT_DOUBLE_EQ(window.psi_group_memory_full, 0.05);
  EXPECT_EQ(window.psi_memory_some, -1);
}

struct ThrottleCase {
  const char* name;
  double ran;            // CPU seconds, of five
  double held;           // seconds, summed over CPUs
  int64_t held_periods;  // of 50; -1: not known
  double share;
};

class ThrottledShareTest : public ::testing::TestWithParam<ThrottleCase> {};

TEST_P(ThrottledShareTest, IsAShareOfTimeWhateverTheNumberOfThreads) {
  const ThrottleCase& c = GetParam();
  const auto nanos = [](double seconds) { return static_cast<int64_t>(seconds * 1e9); };
  Looks looks;
  looks.first.totals = {.process_cpu_ns = 0, .throttled_ns = 0};
  looks.last.totals = {.process_cpu_ns = nanos(c.ran), .throttled_ns = nanos(c.held)};
  if (c.held_periods >= 0) {
    looks.first.totals.periods = looks.first.totals.throttled_periods = 0;
    looks.last.totals.periods = 50;
    looks.last.totals.throttled_periods = c.held_periods;
  }
  EXPECT_NEAR(WindowBetween(looks.first, looks.last).throttled_share, c.share, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(
    HostWindowTest, ThrottledShareTest,
    ::testing::Values(ThrottleCase{"not_at_all", 5, 0, 0, 0},
                      // A quota of a fifth of a CPU.
                      ThrottleCase{"one_busy_thread", 1, 4, 50, 0.8},
                      ThrottleCase{"two_busy_threads", 1, 9, 50, 0.9},
                      ThrottleCase{"a_thread_that_is_mostly_idle", 0.5, 1, 25, 0.2},
                      ThrottleCase{"a_thread_that_mostly_waits_for_others", 1, 0.4, 47, 0.08},
                      // A quota of 60 CPUs.
                      ThrottleCase{"sixty_four_busy_threads", 300, 20, 50, 0.0625},
                      ThrottleCase{"never_in_more_time_than_in_periods", 1, 9, 5, 0.1},
                      ThrottleCase{"without_periods", 1, 4, -1, 0.8},
                      ThrottleCase{"a_clock_of_the_kernel_that_jumps", 1, 900, -1, 900.0 / 901}),
    [](const auto& test) { return test.param.name; });

TEST(HostWindowTest, PeriodsAreCountedOnlyWhereThereAreSome) {
  Looks looks;
  looks.first.totals.periods = looks.last.totals.periods = 7;
  looks.first.totals.throttled_periods = looks.last.totals.throttled_periods = 3;
  EXPECT_EQ(WindowBetween(looks.first, looks.last).throttled_periods_share, 0);
  looks.last.totals.periods = 57;
  looks.last.totals.throttled_periods = 43;
  EXPECT_DOUBLE_EQ(WindowBetween(looks.first, looks.last).throttled_periods_share, 0.8);
}

TEST(HostWindowTest, ACounterThatWentBackIsNotKnown) {
  Looks looks;
  looks.first.totals = {.process_cpu_ns = 5, .minor_faults = 5, .run_queue_wait_ns = 5};
  looks.first.totals.machine_ticks = 100;
  looks.last.totals = {.process_cpu_ns = 4, .minor_faults = 4, .run_queue_wait_ns = 4};
  looks.last.totals.machine_ticks = 10;
  const HostWindow window = WindowBetween(looks.first, looks.last);
  EXPECT_EQ(window.run_queue_wait_cores, -1);
  EXPECT_EQ(window.steal_share, -1);
  EXPECT_EQ(window.process_cpu_cores, 0);
  EXPECT_EQ(window.minor_faults_per_s, 0);
}

TEST(HostWindowTest, WhatIsReadLessOftenIsDividedByItsOwnTime) {
  Looks looks;
  looks.first.sometimes_at_ns = 9 * kSecond;
  looks.last.sometimes_at_ns = 13 * kSecond;
  looks.first.totals = {.process_cpu_ns = 0, .throttled_ns = 0, .cpu = {.some_us = 0}};
  looks.last.totals = {
      .process_cpu_ns = 4 * kSecond, .throttled_ns = kSecond / 10, .cpu = {.some_us = 1'000'000}};
  const HostWindow window = WindowBetween(looks.first, looks.last);
  EXPECT_DOUBLE_EQ(window.seconds, 5);
  EXPECT_DOUBLE_EQ(window.process_cpu_cores, 1);
  EXPECT_DOUBLE_EQ(window.psi_cpu_some, 0.25);
  EXPECT_DOUBLE_EQ(window.throttled_share, 0.02 / 1.02);
}

TEST(HostWindowTest, HardwareCountersHaveTheirOwnTime) {
  Looks looks;
  looks.first.perf = {.cycles = 0, .instructions = 0, .cache_misses = 0};
  looks.first.perf_at_ns = 10 * kSecond;
  looks.last.perf = {.cycles = 1'000, .instructions = 2'500, .cache_misses = 400};
  looks.last.perf_at_ns = 14 * kSecond;
  const HostWindow window = WindowBetween(looks.first, looks.last);
  EXPECT_DOUBLE_EQ(window.instructions_per_cycle, 2.5);
  EXPECT_DOUBLE_EQ(window.cache_misses_per_s, 100);
  EXPECT_DOUBLE_EQ(window.memory_bytes_per_s_estimate, 6'400);
}

}  // namespace
}  // namespace bitmill
