// Where the control groups of this process are found in the file system.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace bitmill {

struct CgroupFolder {
  std::string folder;       // that holds its files
  std::string shown;        // its path below the mount: "/kubepods/pod1", "/" for the mount itself
  bool v2 = false;          // the unified hierarchy
  std::string controllers;  // v1: "cpu,cpuacct"; v2: empty, files say what is controlled

  // Whether files of the controller are to be looked for here.
  bool Has(absl::string_view controller) const;
};

// For every mounted hierarchy: the group of this process, followed by every group above it that the
// mount shows; a limit of any of them binds. Reads /proc/self/cgroup and /proc/self/mountinfo below
// `filesystem_root`; a line that is not understood adds nothing. The folders need not exist.
std::vector<CgroupFolder> CgroupFolders(const std::string& filesystem_root);

}  // namespace bitmill
