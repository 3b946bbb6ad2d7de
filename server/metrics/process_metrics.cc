#include "server/metrics/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"

namespace bitmill {
namespace {

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int64_t CountEntries(const std::string& folder) {
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return 0;
  int64_t count = -3;  // ".", ".." and the descriptor that reads the folder
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count > 0 ? count : 0;
}

int64_t Number(const std::vector<std::string>& fields, size_t index) {
  int64_t value = 0;
  if (index >= fields.size() || !absl::SimpleAtoi(fields[index], &value)) return 0;
  return value;
}

double BootUnixSeconds(const std::string& root) {
  for (const absl::string_view line : absl::StrSplit(ReadText(root + "/proc/stat"), '\n')) {
    int64_t seconds = 0;
    if (absl::StartsWith(line, "btime ") && absl::SimpleAtoi(line.substr(6), &seconds)) {
      return static_cast<double>(seconds);
    }
  }
  return 0;
}

}  // namespace

ProcessMetrics ReadProcessMetrics(const std::string& filesystem_root) {
  ProcessMetrics metrics;
  metrics.cpu_seconds = static_cast<double>(ProcessCpuNanos()) * 1e-9;
  // The name in the second field may hold blanks and brackets: fields are counted after the last
  // bracket, where field 3 of proc(5) is index 0.
  const std::string stat = ReadText(filesystem_root + "/proc/self/stat");
  const size_t end = stat.rfind(')');
  if (end != std::string::npos) {
    const std::vector<std::string> fields =
        absl::StrSplit(stat.substr(end + 1), absl::ByAnyChar(" \n"), absl::SkipEmpty());
    metrics.threads = Number(fields, 17);
    metrics.virtual_bytes = Number(fields, 20);
    metrics.resident_bytes = Number(fields, 21) * sysconf(_SC_PAGESIZE);
    const double boot = BootUnixSeconds(filesystem_root);
    if (boot > 0) {
      metrics.start_unix_seconds = boot + static_cast<double>(Number(fields, 19)) /
                                              static_cast<double>(sysconf(_SC_CLK_TCK));
    }
  }
  metrics.open_fds = CountEntries(filesystem_root + "/proc/self/fd");
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) metrics.max_fds = static_cast<int64_t>(limit.rlim_cur);
  return metrics;
}

}  // namespace bitmill
