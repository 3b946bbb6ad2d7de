// A file tree with what the kernel shows in /proc and /sys, for tests.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace bitmill {

class FakeHost {
 public:
  FakeHost() {
    std::string name = ::testing::TempDir() + "/host_XXXXXX";
    root_ = mkdtemp(name.data());
  }
  ~FakeHost() { std::filesystem::remove_all(root_); }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  // Writes into the file that readers may have open.
  void Put(const std::string& path, const std::string& contents) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << contents;
  }
  void Remove(const std::string& path) const { std::filesystem::remove_all(root_ + path); }

  void PutThread(int id, int64_t wait_ns, int64_t run_ns = 1000) const {
    Put(absl::StrCat("/proc/self/task/", id, "/schedstat"),
        absl::StrCat(run_ns, " ", wait_ns, " 7\n"));
  }
  // The process's control group: version 2, mounted at /cg.
  void PutGroupV2(const std::string& group) const {
    Put("/proc/self/mountinfo", "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n");
    Put("/proc/self/cgroup", absl::StrCat("0::", group, "\n"));
  }
  // Version 1: /cpu and /memory.
  void PutGroupV1(const std::string& group) const {
    Put("/proc/self/mountinfo",
        "31 23 0:27 / /cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 23 0:28 / /memory rw - cgroup cgroup rw,memory\n");
    Put("/proc/self/cgroup", absl::StrCat("4:cpu,cpuacct:", group, "\n3:memory:", group, "\n"));
  }

  const std::string& root() const { return root_; }
  absl::Span<char> buffer() { return absl::MakeSpan(buffer_); }

 private:
  std::string root_;
  std::array<char, 64 * 1024> buffer_{};
};

}  // namespace bitmill
