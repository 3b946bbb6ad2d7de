#include "server/analysis/proc_text.h"

#include <array>
#include <climits>
#include <cstddef>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/pseudo_file.h"

namespace bitmill {
namespace {

// Of 64-bit counters, so that sums of a few of them cannot overflow.
constexpr int64_t kMaxTicks = INT64_MAX / 64;
// v1 says "no limit" with the largest multiple of a page.
constexpr int64_t kNoLimitV1 = int64_t{1} << 62;

// The first N numbers of a line; nullopt when it has fewer, or something else among them.
template <size_t N>
std::optional<std::array<int64_t, N>> FirstCounts(absl::string_view line) {
  std::array<int64_t, N> counts{};
  size_t found = 0;
  for (const absl::string_view word : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
    const std::optional<int64_t> count = ParseCount(word);
    if (!count || *count > kMaxTicks) return std::nullopt;
    counts[found] = *count;
    if (++found == N) return counts;
  }
  return std::nullopt;
}

std::optional<int64_t> PressureTotal(absl::string_view text, absl::string_view kind) {
  const std::optional<absl::string_view> line = FindLine(text, kind);
  if (!line) return std::nullopt;
  for (absl::string_view word : absl::StrSplit(*line, ' ')) {
    if (absl::ConsumePrefix(&word, "total=")) return ParseCount(word);
  }
  return std::nullopt;
}

bool IsCpuLine(absl::string_view line) {
  return absl::StartsWith(line, "cpu") && line.size() > 3 && line[3] >= '0' && line[3] <= '9';
}

// The line of one CPU; a number that does not fit is none.
void AddAllowed(absl::string_view line, absl::FunctionRef<bool(int cpu)> allowed,
                MachineStat& stat) {
  const size_t end = line.find(' ');
  if (end == absl::string_view::npos) return;
  const std::optional<int64_t> cpu = ParseCount(line.substr(3, end - 3));
  if (!cpu || *cpu > INT_MAX || !allowed(static_cast<int>(*cpu))) return;
  const auto ticks = FirstCounts<8>(line.substr(end));
  if (!ticks) return;
  const auto& t = *ticks;
  stat.allowed_busy_ticks += t[0] + t[1] + t[2] + t[5] + t[6];
  ++stat.allowed_cpus;
}

}  // namespace

std::optional<SelfStat> ParseSelfStat(absl::string_view text) {
  if (!absl::EndsWith(text, "\n")) return std::nullopt;
  // The name in the second field may hold blanks and brackets: fields are counted after the last
  // bracket, where field 3 of proc(5) is index 0.
  const size_t end = text.rfind(')');
  if (end == absl::string_view::npos) return std::nullopt;
  SelfStat stat;
  int index = 0;
  for (const absl::string_view word :
       absl::StrSplit(text.substr(end + 1), ' ', absl::SkipEmpty())) {
    int64_t* field = nullptr;
    int64_t ticks = 0;
    switch (index++) {
      case 7:
        field = &stat.minor_faults;
        break;
      case 9:
        field = &stat.major_faults;
        break;
      case 11:
      case 12:
        field = &ticks;
        break;
      case 17:
        field = &stat.threads;
        break;
      case 21:
        field = &stat.resident_pages;
        break;
      default:
        continue;
    }
    const std::optional<int64_t> count = ParseCount(word);
    if (!count || *count > kMaxTicks) return std::nullopt;
    *field = *count;
    stat.cpu_ticks += ticks;
    if (index == 22) return stat;
  }
  return std::nullopt;
}

std::optional<MachineStat> ParseMachineStat(absl::string_view text,
                                            absl::FunctionRef<bool(int cpu)> allowed) {
  const std::optional<absl::string_view> line = FindLine(text, "cpu");
  if (!line) return std::nullopt;
  // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
  const auto ticks = FirstCounts<8>(*line);
  if (!ticks) return std::nullopt;
  const auto& t = *ticks;
  MachineStat stat{.busy_ticks = t[0] + t[1] + t[2] + t[5] + t[6], .steal_ticks = t[7]};
  stat.total_ticks = stat.busy_ticks + stat.steal_ticks + t[3] + t[4];
  for (const absl::string_view each : absl::StrSplit(text, '\n')) {
    if (IsCpuLine(each)) {
      ++stat.cpus;
      AddAllowed(each, allowed, stat);
    }
    if (!absl::StartsWith(each, "cpu")) break;
  }
  if (stat.cpus == 0) return std::nullopt;
  return stat;
}

std::optional<Pressure> ParsePressure(absl::string_view text) {
  const std::optional<int64_t> some = PressureTotal(text, "some");
  if (!some) return std::nullopt;
  return Pressure{*some, PressureTotal(text, "full").value_or(-1)};
}

std::optional<ThreadSchedstat> ParseThreadSchedstat(absl::string_view text) {
  if (!absl::ConsumeSuffix(&text, "\n")) return std::nullopt;
  const auto counts = FirstCounts<3>(text);  // on-CPU ns, wait ns, slices
  if (!counts) return std::nullopt;
  return ThreadSchedstat{(*counts)[0], (*counts)[1]};
}

std::optional<CgroupCpuStat> ParseCgroupCpuStat(absl::string_view text) {
  const std::optional<int64_t> periods = FindCount(text, "nr_periods");
  const std::optional<int64_t> throttled = FindCount(text, "nr_throttled");
  if (!periods && !throttled && FindCount(text, "usage_usec")) return CgroupCpuStat{};
  if (!periods || !throttled) return std::nullopt;
  std::optional<int64_t> nanos = FindCount(text, "throttled_time");
  if (!nanos) {
    const std::optional<int64_t> micros = FindCount(text, "throttled_usec");
    if (micros && *micros < INT64_MAX / 1000) nanos = *micros * 1000;
  }
  if (!nanos) return std::nullopt;
  return CgroupCpuStat{true, *periods, *throttled, *nanos};
}

std::optional<int64_t> ParseMemoryLimit(absl::string_view text) {
  if (text == "max\n") return kNoLimit;
  const std::optional<int64_t> bytes = ParseOnlyCount(text);
  if (bytes && *bytes >= kNoLimitV1) return kNoLimit;
  return bytes;
}

}  // namespace bitmill
