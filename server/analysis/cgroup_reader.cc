#include "server/analysis/cgroup_reader.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/cgroup.h"

namespace bitmill {
namespace {

// Of each hierarchy; deeper nesting costs too much to look at ten times a second.
constexpr size_t kMaxGroups = 16;
// Of a second: version 2 adds up all CPUs for a group's cpu.stat, quota or not.
constexpr int kSkippedCalls = 9;

// How often the group ran into its limit.
std::optional<int64_t> ParseHits(absl::string_view text, bool v2) {
  if (!v2) return ParseOnlyCount(text);
  const std::optional<int64_t> max = FindCount(text, "max");
  const std::optional<int64_t> high = FindCount(text, "high");
  if (!max) return std::nullopt;
  return *max + std::min(high.value_or(0), INT64_MAX - *max);
}

}  // namespace

CgroupReader::CgroupReader(const std::string& filesystem_root)
    : root_(filesystem_root), membership_(filesystem_root + "/proc/self/cgroup") {}

void CgroupReader::FollowProcess(absl::Span<char> buffer) {
  const std::optional<absl::string_view> text = membership_.Read(buffer);
  if (!text || *text == membership_text_) return;
  membership_text_ = std::string(*text);
  OpenFiles();
}

void CgroupReader::OpenFiles() {
  cpu_groups_.clear();
  memory_groups_.clear();
  bool own_v2 = true;
  for (const CgroupFolder& folder : CgroupFolders(root_)) {
    const std::string& path = folder.folder;
    if (folder.v2 && std::exchange(own_v2, false)) {
      cpu_pressure_.Open(path + "/cpu.pressure");
      memory_pressure_.Open(path + "/memory.pressure");
      io_pressure_.Open(path + "/io.pressure");
    }
    if (folder.Has("cpu") && cpu_groups_.size() < kMaxGroups) {
      cpu_groups_.emplace_back();
      cpu_groups_.back().stat = PseudoFile(path + "/cpu.stat");
    }
    if (!folder.Has("memory") || memory_groups_.size() >= kMaxGroups) continue;
    MemoryGroup& group = memory_groups_.emplace_back();
    group.v2 = folder.v2;
    group.used = PseudoFile(path + (folder.v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    group.limit = PseudoFile(path + (folder.v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    group.events = PseudoFile(path + (folder.v2 ? "/memory.events" : "/memory.failcnt"));
    if (folder.v2) group.high = PseudoFile(path + "/memory.high");
  }
}

void CgroupReader::ReadCpu(absl::Span<char> buffer) {
  bool readable = false;
  CgroupCpuStat worst;
  for (CpuGroup& group : cpu_groups_) {
    if (group.skip > 0) {
      --group.skip;
      readable = true;
      continue;
    }
    const std::optional<absl::string_view> text = group.stat.Read(buffer);
    const std::optional<CgroupCpuStat> stat = text ? ParseCgroupCpuStat(*text) : std::nullopt;
    if (!stat) continue;
    readable = true;
    if (!stat->can_throttle) {
      group.skip = kSkippedCalls;
      continue;
    }
    const CgroupCpuStat growth{
        .can_throttle = true,
        .periods = group.periods.Add(stat->periods),
        .throttled_periods = group.throttled_periods.Add(stat->throttled_periods),
        .throttled_ns = group.throttled_ns.Add(stat->throttled_ns)};
    const auto severity = [](const CgroupCpuStat& s) {
      return std::tuple(s.throttled_ns, s.throttled_periods, s.periods);
    };
    if (severity(growth) > severity(worst)) worst = growth;
  }
  cpu_sum_.periods += worst.periods;
  cpu_sum_.throttled_periods += worst.throttled_periods;
  cpu_sum_.throttled_ns += worst.throttled_ns;
  totals_.periods = readable ? cpu_sum_.periods : -1;
  totals_.throttled_periods = readable ? cpu_sum_.throttled_periods : -1;
  totals_.throttled_ns = readable ? cpu_sum_.throttled_ns : -1;
}

void CgroupReader::ReadPressure(absl::Span<char> buffer) {
  totals_.cpu = cpu_pressure_.Read(buffer);
  totals_.memory = memory_pressure_.Read(buffer);
  totals_.io = io_pressure_.Read(buffer);
}

int64_t CgroupReader::LimitOf(MemoryGroup& group, absl::Span<char> buffer) {
  int64_t limit = kNoLimit;
  for (PseudoFile* file : {&group.limit, &group.high}) {
    const std::optional<absl::string_view> text = file->Read(buffer);
    if (text) limit = std::min(limit, ParseMemoryLimit(*text).value_or(kNoLimit));
  }
  return limit;
}

void CgroupReader::ReadMemory(absl::Span<char> buffer) {
  totals_.memory_used_bytes = totals_.memory_limit_bytes = -1;
  int64_t least_room = INT64_MAX;
  int64_t most_hits = 0;
  bool hits_readable = false;
  for (MemoryGroup& group : memory_groups_) {
    std::optional<absl::string_view> text = group.events.Read(buffer);
    const std::optional<int64_t> hits = text ? ParseHits(*text, group.v2) : std::nullopt;
    most_hits = std::max(most_hits, group.hits.Add(hits));
    hits_readable |= hits.has_value();
    text = group.used.Read(buffer);
    const std::optional<int64_t> used = text ? ParseOnlyCount(*text) : std::nullopt;
    if (!used) continue;
    const int64_t limit = LimitOf(group, buffer);
    const int64_t room = limit == kNoLimit ? INT64_MAX : limit - *used;
    if (totals_.memory_limit_bytes >= 0 && room >= least_room) continue;
    least_room = room;
    totals_.memory_used_bytes = *used;
    totals_.memory_limit_bytes = limit;
  }
  hits_sum_ += most_hits;
  totals_.memory_limit_hits = hits_readable ? hits_sum_ : -1;
}

}  // namespace bitmill
