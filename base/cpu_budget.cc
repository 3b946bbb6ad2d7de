// A process finds its cgroups in /proc/self/cgroup and where they are mounted in
// /proc/self/mountinfo. Inside a container the path in the first is often relative to a root that
// the mount does not show (without a cgroup namespace), so each mount says which part of the
// hierarchy it shows ("root" of its mountinfo line), and that part is cut off.
#include "base/cpu_budget.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxFileBytes = 4 << 20;
constexpr int kMaxDepth = 64;

// Pseudo files say that they have no bytes, so ReadFile() would see them as empty.
std::optional<std::string> ReadPseudoFile(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return std::nullopt;
  std::string contents;
  char buffer[4096];
  size_t count = 0;
  while (static_cast<int64_t>(contents.size()) < kMaxFileBytes &&
         (count = std::fread(buffer, 1, sizeof(buffer), file)) > 0) {
    contents.append(buffer, count);
  }
  std::fclose(file);
  return contents;
}

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

std::optional<double> ParseQuota(absl::string_view quota, absl::string_view period) {
  int64_t quota_us = 0;
  int64_t period_us = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(quota), &quota_us) || quota_us <= 0 ||
      !absl::SimpleAtoi(absl::StripAsciiWhitespace(period), &period_us) || period_us <= 0) {
    return std::nullopt;
  }
  return static_cast<double>(quota_us) / static_cast<double>(period_us);
}

std::optional<double> QuotaV2(const std::string& folder) {
  const auto text = ReadPseudoFile(folder + "/cpu.max");
  if (!text) return std::nullopt;
  const std::vector<std::string> parts =
      absl::StrSplit(absl::StripAsciiWhitespace(*text), ' ', absl::SkipEmpty());
  if (parts.empty() || parts.size() > 2) return std::nullopt;
  return ParseQuota(parts[0], parts.size() == 2 ? parts[1] : "100000");
}

std::optional<double> QuotaV1(const std::string& folder) {
  const auto quota = ReadPseudoFile(folder + "/cpu.cfs_quota_us");
  const auto period = ReadPseudoFile(folder + "/cpu.cfs_period_us");
  if (!quota || !period) return std::nullopt;
  return ParseQuota(*quota, *period);
}

// "0-3,8": 5 CPUs; nullopt for an empty or malformed list.
std::optional<double> CpusInList(const std::string& file) {
  const auto text = ReadPseudoFile(file);
  if (!text) return std::nullopt;
  int64_t count = 0;
  for (const absl::string_view part :
       absl::StrSplit(absl::StripAsciiWhitespace(*text), ',', absl::SkipEmpty())) {
    const std::vector<absl::string_view> range = absl::StrSplit(part, '-');
    int first = 0;
    int last = 0;
    if (range.size() > 2 || !absl::SimpleAtoi(range.front(), &first) ||
        !absl::SimpleAtoi(range.back(), &last) || first < 0 || last < first) {
      return std::nullopt;
    }
    count += int64_t{last} - first + 1;
  }
  if (count == 0) return std::nullopt;
  return static_cast<double>(count);
}

int AffinityCpus() {
  // Machines with more than 1024 CPUs need a larger mask than the fixed type.
  for (int cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(cpus));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    CPU_ZERO_S(bytes, set);
    const bool ok = sched_getaffinity(0, bytes, set) == 0;
    const int count = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
}

class Minimum {
 public:
  void Consider(std::optional<double> cores, const std::string& source) {
    if (!cores || (best_.cores <= *cores && !best_.source.empty())) return;
    best_.cores = *cores;
    best_.source = source;
  }
  CpuBudget Result() const {
    CpuBudget result = best_;
    result.cpus = std::max(1, static_cast<int>(std::min(result.cores, 65536.0)));
    return result;
  }

 private:
  CpuBudget best_;
};

void ConsiderCgroup(const std::string& root, const Cgroup& cgroup, const Mount& mount,
                    Minimum& minimum) {
  const std::string base = absl::StrCat(root, mount.point);
  std::string path = PathBelowMount(cgroup, mount);
  for (int depth = 0; depth < kMaxDepth; ++depth) {
    const std::string folder = base + path;
    const std::string shown = path.empty() ? "/" : path;
    const std::optional<double> quota = mount.v2 ? QuotaV2(folder) : QuotaV1(folder);
    if (quota) {
      minimum.Consider(
          quota, absl::StrFormat("cgroup v%d quota %.2f in %s", mount.v2 ? 2 : 1, *quota, shown));
    }
    const std::optional<double> cpus =
        CpusInList(folder + (mount.v2 ? "/cpuset.cpus.effective" : "/cpuset.effective_cpus"));
    minimum.Consider(cpus ? cpus : CpusInList(folder + "/cpuset.cpus"),
                     absl::StrCat("cpuset in ", shown));
    if (path.empty()) return;
    path.resize(path.rfind('/'));
  }
}

}  // namespace

absl::StatusOr<CpuBudget> DetectCpuBudget(const CpuBudgetOptions& options) {
  if (!std::isfinite(options.override_cpus) || options.override_cpus < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("CPU budget ", options.override_cpus, ", expected a number above 0"));
  }
  Minimum minimum;
  minimum.Consider(options.affinity_cpus > 0 ? options.affinity_cpus : AffinityCpus(),
                   "affinity mask");
  const std::vector<Mount> mounts = ReadMounts(options.filesystem_root);
  for (const Cgroup& cgroup : ReadCgroups(options.filesystem_root)) {
    for (const Mount& mount : mounts) {
      if (mount.v2 != cgroup.v2) continue;
      if (!mount.v2) {
        const bool cpu =
            HasController(cgroup.controllers, "cpu") && HasController(mount.options, "cpu");
        const bool cpuset =
            HasController(cgroup.controllers, "cpuset") && HasController(mount.options, "cpuset");
        if (!cpu && !cpuset) continue;
      }
      ConsiderCgroup(options.filesystem_root, cgroup, mount, minimum);
    }
  }
  if (options.override_cpus > 0) minimum.Consider(options.override_cpus, "given limit");
  return minimum.Result();
}

}  // namespace bitmill
