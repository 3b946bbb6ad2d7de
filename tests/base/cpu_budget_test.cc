#include "base/cpu_budget.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

constexpr char kMountV2[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
constexpr char kMountV1[] =
    "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";

// A file tree with what the kernel shows in /proc and /sys.
class CpuBudgetTest : public ::testing::Test {
 protected:
  CpuBudgetTest() {
    std::string name = ::testing::TempDir() + "/cpu_budget_XXXXXX";
    root_ = mkdtemp(name.data());
  }
  ~CpuBudgetTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& contents) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << contents;
  }
  CpuBudget Detect(int affinity = 64, double override_cpus = 0) {
    const auto budget = DetectCpuBudget({override_cpus, root_, affinity});
    EXPECT_TRUE(budget.ok()) << budget.status();
    return budget.value_or(CpuBudget{});
  }

  std::string root_;
};

TEST_F(CpuBudgetTest, IsTheAffinityMaskWhenNothingElseLimits) {
  EXPECT_EQ(Detect(6).cpus, 6);
  EXPECT_EQ(Detect(6).source, "affinity mask");
}

TEST_F(CpuBudgetTest, ReadsTheQuotaOfCgroupV2RoundedDown) {
  Put("/proc/self/mountinfo", kMountV2);
  Put("/proc/self/cgroup", "0::/kubepods/pod1\n");
  Put("/sys/fs/cgroup/kubepods/pod1/cpu.max", "270000 100000\n");
  const CpuBudget budget = Detect();
  EXPECT_EQ(budget.cpus, 2);
  EXPECT_DOUBLE_EQ(budget.cores, 2.7);
  EXPECT_EQ(budget.source, "cgroup v2 quota 2.70 in /kubepods/pod1");
}

TEST_F(CpuBudgetTest, NeverIsBelowOne) {
  Put("/proc/self/mountinfo", kMountV2);
  Put("/proc/self/cgroup", "0::/\n");
  Put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(Detect().cpus, 1);
  EXPECT_DOUBLE_EQ(Detect().cores, 0.5);
}

TEST_F(CpuBudgetTest, TakesTheSmallestQuotaOnTheWayToTheRoot) {
  Put("/proc/self/mountinfo", kMountV2);
  Put("/proc/self/cgroup", "0::/a/b/c\n");
  Put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  Put("/sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
  Put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
  EXPECT_EQ(Detect().cpus, 3);
  EXPECT_THAT(Detect().source, HasSubstr("in /a"));
}

TEST_F(CpuBudgetTest, ReadsQuotaAndCpusetOfCgroupV1) {
  Put("/proc/self/mountinfo", kMountV1);
  Put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n3:cpuset:/docker/x\n0::/unused\n");
  Put("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "500000\n");
  Put("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Detect().cpus, 5);
  EXPECT_THAT(Detect().source, HasSubstr("cgroup v1 quota 5.00"));
  Put("/sys/fs/cgroup/cpuset/docker/x/cpuset.cpus", "0-2,8\n");
  EXPECT_EQ(Detect().cpus, 4);
  EXPECT_EQ(Detect().source, "cpuset in /docker/x");
}

TEST_F(CpuBudgetTest, TakesAnUnlimitedQuotaOfCgroupV1ForNone) {
  Put("/proc/self/mountinfo", kMountV1);
  Put("/proc/self/cgroup", "4:cpu,cpuacct:/\n");
  Put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  Put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Detect(7).cpus, 7);
}

// Without a cgroup namespace the path names a part of the hierarchy that the mount does not show.
TEST_F(CpuBudgetTest, CutsOffThePartThatTheMountDoesNotShow) {
  Put("/proc/self/mountinfo",
      "31 23 0:27 /docker/x /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n");
  Put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/x/inner\n");
  Put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  Put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Detect().cpus, 2);
}

TEST_F(CpuBudgetTest, ReadsTheCpusetThatIsInEffect) {
  Put("/proc/self/mountinfo", kMountV2);
  Put("/proc/self/cgroup", "0::/slice\n");
  Put("/sys/fs/cgroup/slice/cpuset.cpus", "0-31\n");
  Put("/sys/fs/cgroup/slice/cpuset.cpus.effective", "4-9\n");
  EXPECT_EQ(Detect().cpus, 6);
}

TEST_F(CpuBudgetTest, PassesOverWhatItCannotRead) {
  Put("/proc/self/mountinfo", std::string("garbage\n\n - \n") + kMountV2 + kMountV1);
  Put("/proc/self/cgroup", "nonsense\n::\n0::relative\n9:cpu\n0::/../../x\n4:cpu:/a\n0::/a\n");
  Put("/sys/fs/cgroup/a/cpu.max", "lots of them\n");
  Put("/sys/fs/cgroup/cpu.max", "100000 0\n");
  Put("/sys/fs/cgroup/a/cpuset.cpus", "3-1,x\n");
  Put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "99999999999999999999999\n");
  Put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "\n");
  EXPECT_EQ(Detect(9).cpus, 9);
}

TEST_F(CpuBudgetTest, AGivenLimitLowersButNeverRaisesIt) {
  EXPECT_EQ(Detect(8, 3).cpus, 3);
  EXPECT_EQ(Detect(8, 3).source, "given limit");
  EXPECT_EQ(Detect(8, 100).cpus, 8);
}

TEST_F(CpuBudgetTest, RefusesALimitThatIsNoNumberAboveZero) {
  EXPECT_EQ(DetectCpuBudget({-1, root_, 8}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(DetectCpuBudget({std::numeric_limits<double>::quiet_NaN(), root_, 8}).ok());
}

TEST(CpuBudgetOfThisMachineTest, IsAtLeastOne) {
  const auto budget = DetectCpuBudget({});
  ASSERT_TRUE(budget.ok());
  EXPECT_GE(budget->cpus, 1);
  EXPECT_FALSE(budget->source.empty());
}

}  // namespace
}  // namespace bitmill
