#include "base/thread_usage.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ctime>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"

namespace bitmill {
namespace {

int64_t MonotonicNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// "on-CPU-ns wait-ns slices". The first is brought up to date only at a clock tick or a switch, the
// second is always right: that is why CPU time is asked of the thread's clock.
class SchedFile {
 public:
  SchedFile() : fd_(open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)) {}
  ~SchedFile() {
    if (fd_ >= 0) close(fd_);
  }
  SchedFile(const SchedFile&) = delete;
  SchedFile& operator=(const SchedFile&) = delete;

  int64_t WaitNanos() const {
    if (fd_ < 0) return -1;
    char buffer[96];
    const ssize_t count = pread(fd_, buffer, sizeof(buffer), 0);
    if (count <= 0) return -1;
    absl::string_view text(buffer, static_cast<size_t>(count));
    const size_t begin = text.find(' ');
    if (begin == absl::string_view::npos) return -1;
    const size_t end = text.find(' ', begin + 1);
    if (end == absl::string_view::npos) return -1;
    int64_t wait_ns = 0;
    if (!absl::SimpleAtoi(text.substr(begin + 1, end - begin - 1), &wait_ns)) return -1;
    return wait_ns < 0 ? -1 : wait_ns;
  }

 private:
  int fd_;
};

// The clocks as they were when last read, and how often the thread had left its CPU by then.
struct LastRead {
  SchedFile file;
  int64_t switches = -1;
  int64_t at_ns = 0;  // monotonic
  int64_t cpu_ns = 0;
  int64_t wait_ns = -1;
};

int64_t Difference(int64_t end, int64_t begin) { return end < 0 || begin < 0 ? -1 : end - begin; }

}  // namespace

ThreadUsage operator-(const ThreadUsage& end, const ThreadUsage& begin) {
  return {.cpu_ns = Difference(end.cpu_ns, begin.cpu_ns),
          .run_queue_wait_ns = Difference(end.run_queue_wait_ns, begin.run_queue_wait_ns),
          .blocked = Difference(end.blocked, begin.blocked),
          .preempted = Difference(end.preempted, begin.preempted),
          .minor_faults = Difference(end.minor_faults, begin.minor_faults),
          .major_faults = Difference(end.major_faults, begin.major_faults)};
}

ThreadUsage ThreadUsageNow() {
  thread_local LastRead last;
  ThreadUsage usage;
  // Before the switches are counted: one in between sends this call to the clocks.
  const int64_t now_ns = MonotonicNow();
  rusage counts{};
  if (getrusage(RUSAGE_THREAD, &counts) != 0) return usage;
  usage.blocked = counts.ru_nvcsw;
  usage.preempted = counts.ru_nivcsw;
  usage.minor_faults = counts.ru_minflt;
  usage.major_faults = counts.ru_majflt;
  const int64_t switches = usage.blocked + usage.preempted;
  if (switches != last.switches) {
    last.wait_ns = last.file.WaitNanos();
    last.cpu_ns = ThreadCpuNanos();
    last.at_ns = MonotonicNow();
    last.switches = switches;
    usage.cpu_ns = last.cpu_ns;
  } else {
    usage.cpu_ns = last.cpu_ns + (now_ns - last.at_ns);
  }
  usage.run_queue_wait_ns = last.wait_ns;
  return usage;
}

}  // namespace bitmill
