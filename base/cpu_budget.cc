#include "base/cpu_budget.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/cgroup.h"
#include "base/pseudo_file.h"

namespace bitmill {
namespace {

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

void ConsiderCgroup(const CgroupFolder& group, Minimum& minimum) {
  const std::optional<double> quota = group.v2 ? QuotaV2(group.folder) : QuotaV1(group.folder);
  if (quota) {
    minimum.Consider(quota, absl::StrFormat("cgroup v%d quota %.2f in %s", group.v2 ? 2 : 1, *quota,
                                            group.shown));
  }
  const std::optional<double> cpus =
      CpusInList(group.folder + (group.v2 ? "/cpuset.cpus.effective" : "/cpuset.effective_cpus"));
  minimum.Consider(cpus ? cpus : CpusInList(group.folder + "/cpuset.cpus"),
                   absl::StrCat("cpuset in ", group.shown));
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
  for (const CgroupFolder& group : CgroupFolders(options.filesystem_root)) {
    if (group.Has("cpu") || group.Has("cpuset")) ConsiderCgroup(group, minimum);
  }
  if (options.override_cpus > 0) minimum.Consider(options.override_cpus, "given limit");
  return minimum.Result();
}

}  // namespace bitmill
