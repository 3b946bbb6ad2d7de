#include "server/memory_limits.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/cgroup.h"
#include "base/checked_math.h"
#include "base/log.h"
#include "base/pseudo_file.h"
#include "base/status_macros.h"
#include "server/repository/memory_budget.h"

namespace bitmill {

int64_t HostMemoryBytes(const std::string& filesystem_root) {
  int64_t least = INT64_MAX;
  const auto take = [&least](const std::optional<int64_t>& bytes) {
    if (bytes && *bytes > 0) least = std::min(least, *bytes);
  };
  if (const auto text = ReadPseudoFile(filesystem_root + "/proc/meminfo")) {
    if (const auto line = FindLine(*text, "MemTotal:")) {
      const std::optional<int64_t> kib = ParseCount(line->substr(0, line->find(" kB")));
      if (kib) take(CheckedMul(*kib, 1024));
    }
  }
  for (const CgroupFolder& group : CgroupFolders(filesystem_root)) {
    if (!group.Has("memory")) continue;
    // v2 says "max" and v1 a huge number where there is no limit.
    const auto text =
        ReadPseudoFile(group.folder + (group.v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (text) take(ParseOnlyCount(*text));
  }
  return least == INT64_MAX ? 0 : least;
}

absl::StatusOr<MemoryLimits> ReadMemoryLimits(const ServeOptions& options, int64_t host_bytes) {
  MemoryLimits limits{.host_bytes = host_bytes};
  BITMILL_ASSIGN_OR_RETURN(limits.host,
                           ParseMemoryBudget(options.memory_budget, kAutomaticHostShare));
  BITMILL_ASSIGN_OR_RETURN(limits.device,
                           ParseMemoryBudget(options.device_memory_budget, kAutomaticDeviceShare));
  return limits;
}

void LogMemoryLimits(const MemoryLimits& limits, const ServeOptions& options) {
  const int64_t bytes = BudgetBytes(limits.host, limits.host_bytes);
  LogInfo(absl::StrCat("memory budget host=\"", bytes == 0 ? "off" : BytesText(bytes), "\" of=\"",
                       limits.host_bytes == 0 ? "unknown" : BytesText(limits.host_bytes),
                       "\" device=", options.device_memory_budget));
}

}  // namespace bitmill
