// A process finds its cgroups in /proc/self/cgroup and where they are mounted in
// /proc/self/mountinfo. Inside a container the path in the first is often relative to a root that
// the mount does not show (without a cgroup namespace), so each mount says which part of the
// hierarchy it shows ("root" of its mountinfo line), and that part is cut off.
#include "base/cgroup.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/pseudo_file.h"

namespace bitmill {
namespace {

constexpr int kMaxDepth = 64;

struct Cgroup {
  bool v2 = false;
  std::string controllers;  // v1: "cpu,cpuacct"
  std::string path;         // "/kubepods/pod1"
};

struct Mount {
  bool v2 = false;
  std::string options;  // v1: names the controllers
  std::string root;     // the part of the hierarchy that is shown
  std::string point;    // where
};

bool HasController(absl::string_view list, absl::string_view name) {
  for (const absl::string_view item : absl::StrSplit(list, ',')) {
    if (item == name) return true;
  }
  return false;
}

std::vector<Cgroup> ReadCgroups(const std::string& root) {
  std::vector<Cgroup> cgroups;
  const auto text = ReadPseudoFile(absl::StrCat(root, "/proc/self/cgroup"));
  if (!text) return cgroups;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || parts[2].empty() || parts[2][0] != '/') continue;
    cgroups.push_back({parts[0] == "0" && parts[1].empty(), parts[1], parts[2]});
  }
  return cgroups;
}

// "36 35 0:31 /docker/abc /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
std::vector<Mount> ReadMounts(const std::string& root) {
  std::vector<Mount> mounts;
  const auto text = ReadPseudoFile(absl::StrCat(root, "/proc/self/mountinfo"));
  if (!text) return mounts;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::vector<std::string> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<std::string> left = absl::StrSplit(halves[0], ' ');
    const std::vector<std::string> right = absl::StrSplit(halves[1], ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    if (right[0] != "cgroup" && right[0] != "cgroup2") continue;
    mounts.push_back({right[0] == "cgroup2", right[2], left[3], left[4]});
  }
  return mounts;
}

// Path of the cgroup below the mount point, "" for the mount point itself.
std::string PathBelowMount(const Cgroup& cgroup, const Mount& mount) {
  absl::string_view path = cgroup.path;
  if (mount.root != "/" && !mount.root.empty()) {
    // A cgroup above the shown part ("/../x") or beside it: the shown root is the best there is.
    if (!absl::ConsumePrefix(&path, mount.root) || (!path.empty() && path[0] != '/')) return "";
  }
  if (absl::StrContains(path, "..")) return "";
  while (absl::ConsumeSuffix(&path, "/")) {
  }
  return std::string(path);
}

// The controllers of the group that the mount shows: "cpu,cpuacct".
std::string CommonControllers(const Cgroup& cgroup, const Mount& mount) {
  std::string common;
  for (const absl::string_view item : absl::StrSplit(cgroup.controllers, ',')) {
    if (!HasController(mount.options, item)) continue;
    absl::StrAppend(&common, common.empty() ? "" : ",", item);
  }
  return common;
}

}  // namespace

bool CgroupFolder::Has(absl::string_view controller) const {
  return v2 || HasController(controllers, controller);
}

std::vector<CgroupFolder> CgroupFolders(const std::string& filesystem_root) {
  std::vector<CgroupFolder> folders;
  const std::vector<Mount> mounts = ReadMounts(filesystem_root);
  for (const Cgroup& cgroup : ReadCgroups(filesystem_root)) {
    for (const Mount& mount : mounts) {
      if (mount.v2 != cgroup.v2) continue;
      const std::string controllers = mount.v2 ? "" : CommonControllers(cgroup, mount);
      if (!mount.v2 && controllers.empty()) continue;
      const std::string base = absl::StrCat(filesystem_root, mount.point);
      std::string path = PathBelowMount(cgroup, mount);
      for (int depth = 0; depth < kMaxDepth; ++depth) {
        folders.push_back({base + path, path.empty() ? "/" : path, mount.v2, controllers});
        if (path.empty()) break;
        path.resize(path.rfind('/'));
      }
    }
  }
  return folders;
}

}  // namespace bitmill
