#include "server/analysis/proc_text.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>

namespace bitmill {
namespace {

constexpr char kSelfStat[] =
    "8656 (a) b (c) R 8654 8654 4209 0 -1 4194304 120 5 3 6 40 2 0 0 20 0 17 0 2318374 3133440 390 "
    "18446744073709551615 94493119012864 94493119032745 140720469376816 0 0 0\n";
constexpr char kMachineStat[] =
    "cpu  100 20 30 400 50 6 7 8 9 9\n"
    "cpu0 50 10 15 200 25 3 4 4 0 0\n"
    "cpu1 50 10 15 200 25 3 3 4 0 0\n"
    "intr 36028271 0 0\nctxt 255616902\n";
constexpr char kPressure[] =
    "some avg10=8.97 avg60=5.94 avg300=6.70 total=14478351437\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=12\n";

TEST(ProcTextTest, ReadsTheProcessBehindANameWithBlanksAndBrackets) {
  const auto stat = ParseSelfStat(kSelfStat);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->minor_faults, 120);
  EXPECT_EQ(stat->major_faults, 3);
  EXPECT_EQ(stat->cpu_ticks, 42);
  EXPECT_EQ(stat->threads, 17);
  EXPECT_EQ(stat->resident_pages, 390);
}

TEST(ProcTextTest, ReadsTheMachine) {
  const auto stat = ParseMachineStat(kMachineStat);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->busy_ticks, 100 + 20 + 30 + 6 + 7);
  EXPECT_EQ(stat->steal_ticks, 8);
  EXPECT_EQ(stat->total_ticks, 163 + 8 + 400 + 50);
  EXPECT_EQ(stat->cpus, 2);
}

TEST(ProcTextTest, CountsTheCpusThatAreAllowedApart) {
  const std::string text =
      "cpu 30 0 0 100 0 0 0 0\ncpu0 10 0 0 50 0 0 0 0\ncpu11 20 0 0 50 0 0 0 0\nintr 1\n";
  const auto all = ParseMachineStat(text);
  EXPECT_EQ(all->allowed_busy_ticks, 30);
  EXPECT_EQ(all->allowed_cpus, 2);
  const auto one = ParseMachineStat(text, [](int cpu) { return cpu == 11; });
  EXPECT_EQ(one->allowed_busy_ticks, 20);
  EXPECT_EQ(one->allowed_cpus, 1);
  EXPECT_EQ(one->busy_ticks, 30);
}

TEST(ProcTextTest, ReadsPressureWithAndWithoutALineForAll) {
  EXPECT_EQ(ParsePressure(kPressure)->some_us, 14478351437);
  EXPECT_EQ(ParsePressure(kPressure)->full_us, 12);
  EXPECT_EQ(ParsePressure("some avg10=0.00 total=5\n")->full_us, -1);
  EXPECT_FALSE(ParsePressure("full avg10=0.00 total=5\n"));
}

TEST(ProcTextTest, ReadsTheWaitOfAThread) {
  const auto stat = ParseThreadSchedstat("17 69985 1\n");
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->run_ns, 17);
  EXPECT_EQ(stat->wait_ns, 69985);
  EXPECT_FALSE(ParseThreadSchedstat("0 69985\n"));
  EXPECT_FALSE(ParseThreadSchedstat("0 -5 1\n"));
}

TEST(ProcTextTest, ReadsBothVersionsOfCpuStat) {
  const auto v1 = ParseCgroupCpuStat("nr_periods 30\nnr_throttled 24\nthrottled_time 1140000000\n");
  ASSERT_TRUE(v1);
  EXPECT_TRUE(v1->can_throttle);
  EXPECT_EQ(v1->periods, 30);
  EXPECT_EQ(v1->throttled_periods, 24);
  EXPECT_EQ(v1->throttled_ns, 1'140'000'000);
  const auto v2 = ParseCgroupCpuStat(
      "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 3\nnr_throttled 2\nthrottled_usec 7\n");
  ASSERT_TRUE(v2);
  EXPECT_EQ(v2->throttled_ns, 7'000);
  const auto without = ParseCgroupCpuStat("usage_usec 9\nuser_usec 5\nsystem_usec 4\n");
  ASSERT_TRUE(without);
  EXPECT_FALSE(without->can_throttle);
}

TEST(ProcTextTest, ReadsMemoryLimits) {
  EXPECT_EQ(ParseMemoryLimit("max\n"), kNoLimit);
  EXPECT_EQ(ParseMemoryLimit("9223372036854771712\n"), kNoLimit);
  EXPECT_EQ(ParseMemoryLimit("1048576\n"), 1048576);
  EXPECT_FALSE(ParseMemoryLimit("ma"));
  EXPECT_FALSE(ParseMemoryLimit("1048"));
}

TEST(ProcTextTest, AHalfWrittenFileIsNeverTakenForSmallerNumbers) {
  const std::string self = kSelfStat, machine = "cpu  100 20 30 400 50 6 7 8 9 9\n";
  for (size_t size = 0; size < self.size(); ++size) {
    EXPECT_FALSE(ParseSelfStat(self.substr(0, size))) << size;
  }
  for (size_t size = 0; size <= machine.size(); ++size) {
    EXPECT_FALSE(ParseMachineStat(machine.substr(0, size))) << size;  // no line of a CPU yet
  }
  const std::string pressure = kPressure;
  for (size_t size = 0; size < pressure.size(); ++size) {
    const auto cut = ParsePressure(pressure.substr(0, size));
    if (!cut) continue;
    EXPECT_EQ(cut->some_us, 14478351437);
    EXPECT_EQ(cut->full_us, -1);
  }
  const std::string wait = "12345 69985 1\n",
                    cpu = "nr_periods 30\nnr_throttled 24\nthrottled_time 11\n";
  for (size_t size = 0; size < wait.size(); ++size) {
    EXPECT_FALSE(ParseThreadSchedstat(wait.substr(0, size))) << size;
  }
  for (size_t size = 0; size < cpu.size(); ++size) {
    EXPECT_FALSE(ParseCgroupCpuStat(cpu.substr(0, size))) << size;
  }
}

TEST(ProcTextTest, NumbersThatAreTooLargeAreRefused) {
  EXPECT_FALSE(ParseThreadSchedstat("1 99999999999999999999 1\n"));
  EXPECT_FALSE(
      ParseMachineStat("cpu 9223372036854775807 9223372036854775807 1 1 1 1 1 1\ncpu0 1\n"));
  EXPECT_FALSE(
      ParseCgroupCpuStat("nr_periods 1\nnr_throttled 1\nthrottled_usec 9223372036854775807\n"));
}

// Each parser over bytes that were changed at random: no crash, and no number below 0.
TEST(ProcTextTest, SurvivesGarbage) {
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = round % 3 == 0 ? kSelfStat : round % 3 == 1 ? kMachineStat : kPressure;
    for (int change = 0; change < 1 + round % 5; ++change) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    text.resize(text.size() - random() % 2 * (random() % text.size()));
    const auto self = ParseSelfStat(text);
    EXPECT_GE(self ? self->cpu_ticks : 0, 0);
    const auto machine = ParseMachineStat(text);
    EXPECT_GE(machine ? machine->total_ticks : 0, 0);
    const auto pressure = ParsePressure(text);
    EXPECT_GE(pressure ? pressure->some_us : 0, 0);
    EXPECT_GE(ParseThreadSchedstat(text).value_or(ThreadSchedstat{}).wait_ns, 0);
    EXPECT_FALSE(ParseCgroupCpuStat(text));
    EXPECT_FALSE(ParseMemoryLimit(text));
  }
}

}  // namespace
}  // namespace bitmill
