#include "base/clock.h"

#include <ctime>

namespace bitmill {
namespace {

int64_t ReadNanos(clockid_t id) {
  timespec time{};
  clock_gettime(id, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

MonotonicNanos SystemClock::Now() const { return ReadNanos(CLOCK_MONOTONIC); }
int64_t SystemClock::UnixMillis() const { return ReadNanos(CLOCK_REALTIME) / 1'000'000; }
int64_t SystemClock::UnixNanos() const { return ReadNanos(CLOCK_REALTIME); }
int64_t ThreadCpuNanos() { return ReadNanos(CLOCK_THREAD_CPUTIME_ID); }
int64_t ProcessCpuNanos() { return ReadNanos(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace bitmill
