// A clock that stands still until a test moves it.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace bitmill {

class FakeClock final : public Clock {
 public:
  explicit FakeClock(MonotonicNanos now = 1'000'000'000) : now_(now) {}
  MonotonicNanos Now() const override { return now_.load(); }
  int64_t UnixMillis() const override { return now_.load() / 1'000'000; }
  void Advance(MonotonicNanos by) { now_.fetch_add(by); }

 private:
  std::atomic<MonotonicNanos> now_;
};

}  // namespace bitmill
