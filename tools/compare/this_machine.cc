#include "tools/compare/this_machine.h"

#include <sys/utsname.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/cpu_budget.h"
#include "base/pseudo_file.h"
#include "kernels/isa.h"

namespace bitmill {
namespace {

std::string OsName(const std::string& filesystem_root) {
  const auto text = ReadPseudoFile(filesystem_root + "/etc/os-release");
  if (!text) return "";
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, "PRETTY_NAME=")) continue;
    if (absl::ConsumePrefix(&line, "\"")) absl::ConsumeSuffix(&line, "\"");
    return std::string(line);
  }
  return "";
}

std::optional<int64_t> MemoryBytes(const std::string& filesystem_root) {
  const auto text = ReadPseudoFile(filesystem_root + "/proc/meminfo");
  auto line = text ? FindLine(*text, "MemTotal:") : std::nullopt;
  if (!line || !absl::ConsumeSuffix(&*line, " kB")) return std::nullopt;
  const std::optional<int64_t> kib = ParseCount(*line);
  constexpr int64_t kMost = int64_t{1} << 50;
  if (!kib || *kib > kMost) return std::nullopt;
  return *kib * 1024;
}

}  // namespace

std::vector<std::string> IsaLevelsHere() {
  std::vector<std::string> levels;
  const Isa best = BestIsa();
  for (const Isa isa : kAllIsas) {
    if (IsaAllows(best, isa)) levels.emplace_back(IsaName(isa));
  }
  return levels;
}

PlatformMachine ThisMachine(const std::string& filesystem_root) {
  PlatformMachine machine;
  machine.cpu = CpuModelName();
  const auto budget = DetectCpuBudget({.filesystem_root = filesystem_root});
  machine.cores = budget.ok() ? budget->cpus : 1;
  machine.isa_levels = IsaLevelsHere();
  machine.memory_bytes = MemoryBytes(filesystem_root);
  machine.os = OsName(filesystem_root);
  if (utsname name{}; uname(&name) == 0) {
    machine.kernel = absl::StrCat(name.sysname, " ", name.release, " ", name.machine);
  }
  return machine;
}

}  // namespace bitmill
