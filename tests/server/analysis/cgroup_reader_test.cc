#include "server/analysis/cgroup_reader.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/analysis/fake_host.h"

namespace bitmill {
namespace {

std::string CpuStatV1(int64_t periods, int64_t throttled, int64_t ns) {
  return absl::StrCat("nr_periods ", periods, "\nnr_throttled ", throttled, "\nthrottled_time ", ns,
                      "\nnr_bursts 0\nburst_time 0\n");
}
std::string CpuStatV2(int64_t periods, int64_t throttled, int64_t us) {
  return absl::StrCat("usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods ", periods,
                      "\nnr_throttled ", throttled, "\nthrottled_usec ", us, "\n");
}

class CgroupReaderTest : public ::testing::Test {
 protected:
  const CgroupTotals& Read() {
    reader_.FollowProcess(host_.buffer());
    reader_.ReadCpu(host_.buffer());
    reader_.ReadMemory(host_.buffer());
    reader_.ReadPressure(host_.buffer());
    return reader_.totals();
  }

  FakeHost host_;
  CgroupReader reader_{host_.root()};
};

TEST_F(CgroupReaderTest, KnowsNothingWithoutFiles) {
  const CgroupTotals& totals = Read();
  EXPECT_EQ(totals.throttled_ns, -1);
  EXPECT_EQ(totals.periods, -1);
  EXPECT_EQ(totals.memory_used_bytes, -1);
  EXPECT_EQ(totals.memory_limit_bytes, -1);
  EXPECT_EQ(totals.memory_limit_hits, -1);
  EXPECT_EQ(totals.cpu.some_us, -1);
}

TEST_F(CgroupReaderTest, CountsVersion1FromItsFirstReading) {
  host_.PutGroupV1("/x");
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(10, 4, 1'000));
  host_.Put("/memory/x/memory.usage_in_bytes", "4096\n");
  host_.Put("/memory/x/memory.limit_in_bytes", "8192\n");
  host_.Put("/memory/x/memory.failcnt", "7\n");
  EXPECT_EQ(Read().throttled_ns, 0);
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(20, 9, 51'000));
  host_.Put("/memory/x/memory.failcnt", "10\n");
  const CgroupTotals& totals = Read();
  EXPECT_EQ(totals.throttled_ns, 50'000);
  EXPECT_EQ(totals.periods, 10);
  EXPECT_EQ(totals.throttled_periods, 5);
  EXPECT_EQ(totals.memory_used_bytes, 4096);
  EXPECT_EQ(totals.memory_limit_bytes, 8192);
  EXPECT_EQ(totals.memory_limit_hits, 3);
}

TEST_F(CgroupReaderTest, CountsVersion2AndItsOwnPressure) {
  host_.PutGroupV2("/x");
  host_.Put("/cg/x/cpu.stat", CpuStatV2(10, 4, 1'000));
  host_.Put("/cg/x/memory.current", "5000\n");
  host_.Put("/cg/x/memory.max", "max\n");
  host_.Put("/cg/x/memory.high", "6000\n");
  host_.Put("/cg/x/memory.events", "low 0\nhigh 2\nmax 1\noom 0\noom_kill 0\n");
  host_.Put("/cg/x/memory.pressure", "some avg10=0.00 total=100\nfull avg10=0.00 total=50\n");
  Read();
  host_.Put("/cg/x/cpu.stat", CpuStatV2(11, 5, 41'000));
  host_.Put("/cg/x/memory.events", "low 0\nhigh 6\nmax 3\noom 0\noom_kill 0\n");
  host_.Put("/cg/x/memory.pressure", "some avg10=0.00 total=900\nfull avg10=0.00 total=70\n");
  const CgroupTotals& totals = Read();
  EXPECT_EQ(totals.throttled_ns, 40'000'000);
  EXPECT_EQ(totals.memory_limit_bytes, 6000);  // the lower of high and max
  EXPECT_EQ(totals.memory_limit_hits, 6);
  EXPECT_EQ(totals.memory.some_us, 800);
  EXPECT_EQ(totals.memory.full_us, 20);
  EXPECT_EQ(totals.io.some_us, -1);
}

TEST_F(CgroupReaderTest, AGroupWithoutTheCpuControllerIsNotHeldBack) {
  host_.PutGroupV2("/");
  host_.Put("/cg/cpu.stat", "usage_usec 100\nuser_usec 60\nsystem_usec 40\n");
  EXPECT_EQ(Read().throttled_ns, 0);
  EXPECT_EQ(Read().periods, 0);
}

TEST_F(CgroupReaderTest, TheGroupThatWasHeldBackLongestCounts) {
  host_.PutGroupV2("/a/b");
  host_.Put("/cg/a/b/cpu.stat", CpuStatV2(100, 50, 0));
  host_.Put("/cg/a/cpu.stat", CpuStatV2(1'000, 10, 0));
  Read();
  host_.Put("/cg/a/b/cpu.stat", CpuStatV2(110, 51, 10));
  host_.Put("/cg/a/cpu.stat", CpuStatV2(1'010, 17, 700));  // the parent
  EXPECT_EQ(Read().throttled_ns, 700'000);
  EXPECT_EQ(Read().throttled_periods, 7);
  host_.Put("/cg/a/b/cpu.stat", CpuStatV2(120, 53, 410));  // now the child
  EXPECT_EQ(Read().throttled_ns, 1'100'000);
  EXPECT_EQ(Read().throttled_periods, 9);
}

TEST_F(CgroupReaderTest, TheGroupWithTheLeastRoomLeftGivesTheLimit) {
  host_.PutGroupV1("/a/b");
  host_.Put("/memory/a/b/memory.usage_in_bytes", "100\n");
  host_.Put("/memory/a/b/memory.limit_in_bytes", "1000\n");
  host_.Put("/memory/a/memory.usage_in_bytes", "4900\n");
  host_.Put("/memory/a/memory.limit_in_bytes", "5000\n");
  host_.Put("/memory/memory.usage_in_bytes", "9000\n");
  host_.Put("/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Read().memory_limit_bytes, 5000);
  EXPECT_EQ(Read().memory_used_bytes, 4900);
}

TEST_F(CgroupReaderTest, WithoutALimitTheUseIsThatOfTheOwnGroup) {
  host_.PutGroupV2("/a");
  host_.Put("/cg/a/memory.current", "100\n");
  host_.Put("/cg/a/memory.max", "max\n");
  host_.Put("/cg/memory.current", "900\n");
  EXPECT_EQ(Read().memory_limit_bytes, kNoLimit);
  EXPECT_EQ(Read().memory_used_bytes, 100);
}

TEST_F(CgroupReaderTest, FollowsTheProcessToAnotherGroup) {
  host_.PutGroupV1("/x");
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(10, 4, 1'000));
  host_.Put("/cpu/y/cpu.stat", CpuStatV1(90'000, 80'000, 7'000'000));
  Read();
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(11, 5, 1'500));
  EXPECT_EQ(Read().throttled_ns, 500);
  host_.PutGroupV1("/y");
  EXPECT_EQ(Read().throttled_ns, 500);  // what y went through before is not ours
  host_.Put("/cpu/y/cpu.stat", CpuStatV1(90'001, 80'001, 7'000'300));
  EXPECT_EQ(Read().throttled_ns, 800);
}

TEST_F(CgroupReaderTest, ACounterThatGoesBackAddsNothing) {
  host_.PutGroupV1("/x");
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(10, 4, 1'000));
  Read();
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(1, 0, 10));
  EXPECT_EQ(Read().throttled_ns, 0);
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(2, 1, 30));
  EXPECT_EQ(Read().throttled_ns, 20);
  EXPECT_EQ(Read().periods, 1);
}

TEST_F(CgroupReaderTest, AGarbledFileIsNotKnownAndLosesNothing) {
  host_.PutGroupV1("/x");
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(10, 4, 1'000));
  host_.Put("/memory/x/memory.usage_in_bytes", "4096\n");
  host_.Put("/memory/x/memory.failcnt", "7\n");
  Read();
  for (const char* const garbage : {"", "nr_periods 1", "nr_periods x\nnr_throttled\n", "\n\n\n"}) {
    host_.Put("/cpu/x/cpu.stat", garbage);
    host_.Put("/memory/x/memory.usage_in_bytes", garbage);
    host_.Put("/memory/x/memory.failcnt", garbage);
    EXPECT_EQ(Read().throttled_ns, -1) << garbage;
    EXPECT_EQ(Read().memory_used_bytes, -1) << garbage;
    EXPECT_EQ(Read().memory_limit_hits, -1) << garbage;
  }
  host_.Put("/cpu/x/cpu.stat", CpuStatV1(12, 5, 3'000));
  host_.Put("/memory/x/memory.failcnt", "9\n");
  EXPECT_EQ(Read().throttled_ns, 2'000);
  EXPECT_EQ(Read().memory_limit_hits, 2);
}

}  // namespace
}  // namespace bitmill
