#include "base/cgroup.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CgroupFoldersTest : public ::testing::Test {
 protected:
  CgroupFoldersTest() {
    std::string name = ::testing::TempDir() + "/cgroup_XXXXXX";
    root_ = mkdtemp(name.data());
    std::filesystem::create_directories(root_ + "/proc/self");
  }
  ~CgroupFoldersTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& groups, const std::string& mounts) {
    std::ofstream(root_ + "/proc/self/cgroup") << groups;
    std::ofstream(root_ + "/proc/self/mountinfo") << mounts;
  }
  // "2 /mnt/a": version and folder, without the root of the fake tree.
  std::vector<std::string> Folders(const std::string& controller) const {
    std::vector<std::string> shown;
    for (const CgroupFolder& folder : CgroupFolders(root_)) {
      if (!folder.Has(controller)) continue;
      shown.push_back(absl::StrCat(folder.v2 ? 2 : 1, " ", folder.folder.substr(root_.size())));
    }
    return shown;
  }

  std::string root_;
};

TEST_F(CgroupFoldersTest, ListsTheOwnGroupAndThenThoseAboveIt) {
  Put("0::/a/b\n", "30 23 0:26 / /mnt rw - cgroup2 cgroup2 rw\n");
  EXPECT_THAT(Folders("memory"), ElementsAre("2 /mnt/a/b", "2 /mnt/a", "2 /mnt"));
  EXPECT_EQ(CgroupFolders(root_)[0].shown, "/a/b");
  EXPECT_EQ(CgroupFolders(root_)[2].shown, "/");
}

TEST_F(CgroupFoldersTest, TellsTheControllersOfVersion1Apart) {
  Put("4:cpu,cpuacct:/x\n3:memory:/y\n2:name=systemd:/z\n",
      "31 23 0:27 / /cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "32 23 0:28 / /memory rw - cgroup cgroup rw,memory\n");
  EXPECT_THAT(Folders("cpu"), ElementsAre("1 /cpu/x", "1 /cpu"));
  EXPECT_THAT(Folders("memory"), ElementsAre("1 /memory/y", "1 /memory"));
  EXPECT_THAT(Folders("cpuset"), IsEmpty());
}

TEST_F(CgroupFoldersTest, HasBothVersionsWhereBothAreMounted) {
  Put("1:memory:/m\n0::/u\n",
      "31 23 0:27 / /v1 rw - cgroup cgroup rw,memory\n"
      "32 23 0:28 / /v2 rw - cgroup2 cgroup2 rw\n");
  EXPECT_THAT(Folders("memory"), ElementsAre("1 /v1/m", "1 /v1", "2 /v2/u", "2 /v2"));
}

TEST_F(CgroupFoldersTest, IsEmptyWhereNothingCanBeUnderstood) {
  EXPECT_THAT(CgroupFolders(root_), IsEmpty());
  Put("::::\n0::relative\n", "- - - cgroup2\n\n\n");
  EXPECT_THAT(CgroupFolders(root_), IsEmpty());
}

TEST_F(CgroupFoldersTest, NeverClimbsOutOfTheMount) {
  Put("0::/../../etc\n", "30 23 0:26 / /mnt rw - cgroup2 cgroup2 rw\n");
  EXPECT_THAT(Folders("cpu"), ElementsAre("2 /mnt"));
}

}  // namespace
}  // namespace bitmill
