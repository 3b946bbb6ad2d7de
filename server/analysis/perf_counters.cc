#include "server/analysis/perf_counters.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/pseudo_file.h"

namespace bitmill {
namespace {

constexpr double kCacheLineBytes = 64;

constexpr std::array<uint64_t, 4> kEvents = {PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS,
                                             PERF_COUNT_HW_CACHE_MISSES,
                                             PERF_COUNT_HW_BRANCH_MISSES};

// -1 with errno when it cannot be counted.
int OpenEvent(uint64_t event) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.size = sizeof(attributes);
  attributes.config = event;
  attributes.inherit = 1;         // threads that start later; forbids reading a group at once
  attributes.exclude_kernel = 1;  // allowed to anybody up to perf_event_paranoid 2
  attributes.exclude_hv = 1;
  attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  return static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1,
                                  static_cast<unsigned long>(PERF_FLAG_FD_CLOEXEC)));
}

std::string Reason(int error) {
  if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV) {
    return "this processor, or virtual machine, has no event counters";
  }
  if (error == EACCES || error == EPERM) {
    const auto paranoid = ReadPseudoFile("/proc/sys/kernel/perf_event_paranoid");
    return absl::StrCat("not allowed (perf_event_paranoid ",
                        absl::StripSuffix(paranoid.value_or("?"), "\n"),
                        ", or a container's system call filter)");
  }
  if (error == ENOSYS) return "the kernel has no perf events";
  return absl::StrCat("perf_event_open: ", std::strerror(error));
}

class PerfEvents final : public PerfReader {
 public:
  PerfEvents() { descriptors_.fill(-1); }
  ~PerfEvents() override {
    for (const int fd : descriptors_) {
      if (fd >= 0) close(fd);
    }
  }
  PerfEvents(const PerfEvents&) = delete;
  PerfEvents& operator=(const PerfEvents&) = delete;

  // The error of the first event, 0 for none; the others may be missing.
  int Open() {
    for (size_t i = 0; i < kEvents.size(); ++i) {
      descriptors_[i] = OpenEvent(kEvents[i]);
      if (i == 0 && descriptors_[i] < 0) return errno;
    }
    return 0;
  }
  PerfReading Read() override {
    return {.cycles = Count(descriptors_[0]),
            .instructions = Count(descriptors_[1]),
            .cache_misses = Count(descriptors_[2]),
            .branch_misses = Count(descriptors_[3])};
  }

 private:
  static int64_t Count(int fd) {
    std::array<int64_t, 3> values{};  // count, enabled, running
    if (fd < 0 || read(fd, values.data(), sizeof(values)) != sizeof(values)) return -1;
    return ExtrapolateCount(values[0], values[1], values[2]);
  }

  std::array<int, kEvents.size()> descriptors_;
};

double Ratio(int64_t first, int64_t last, double whole) {
  if (first < 0 || last < first || whole <= 0) return -1;
  return static_cast<double>(last - first) / whole;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PerfReader>> OpenPerfEvents() {
  auto events = std::make_unique<PerfEvents>();
  const int error = events->Open();
  if (error != 0) return absl::UnavailableError(Reason(error));
  return events;
}

int64_t ExtrapolateCount(int64_t counted, int64_t enabled_ns, int64_t running_ns) {
  if (counted < 0 || running_ns <= 0) return -1;
  if (running_ns >= enabled_ns) return counted;
  const double whole = static_cast<double>(counted) * static_cast<double>(enabled_ns) /
                       static_cast<double>(running_ns);
  return whole < 9e18 ? static_cast<int64_t>(whole) : -1;
}

PerfWindow PerfBetween(const PerfReading& first, const PerfReading& last, double seconds) {
  PerfWindow window;
  const int64_t cycles =
      first.cycles < 0 || last.cycles < first.cycles ? 0 : last.cycles - first.cycles;
  window.instructions_per_cycle =
      Ratio(first.instructions, last.instructions, static_cast<double>(cycles));
  window.cache_misses_per_s = Ratio(first.cache_misses, last.cache_misses, seconds);
  window.branch_misses_per_s = Ratio(first.branch_misses, last.branch_misses, seconds);
  if (window.cache_misses_per_s >= 0) {
    window.memory_bytes_per_s_estimate = window.cache_misses_per_s * kCacheLineBytes;
  }
  return window;
}

}  // namespace bitmill
