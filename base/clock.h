// Time as a dependency: production passes SystemClock, tests pass tests/fakes/fake_clock.h.
#pragma once

#include <cstdint>

namespace bitmill {

// Nanoseconds since an arbitrary start that never goes back; subtract two to get a duration.
using MonotonicNanos = int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicNanos Now() const = 0;  // thread-safe
  virtual int64_t UnixMillis() const = 0;  // wall clock, for people
  // The same, as fine as the clock can tell.
  virtual int64_t UnixNanos() const { return UnixMillis() * 1'000'000; }
};

class SystemClock final : public Clock {
 public:
  MonotonicNanos Now() const override;
  int64_t UnixMillis() const override;
  int64_t UnixNanos() const override;
};

// CPU time, user and system, of the calling thread and of the whole process; nanoseconds.
int64_t ThreadCpuNanos();
int64_t ProcessCpuNanos();

}  // namespace bitmill
