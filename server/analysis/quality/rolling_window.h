// The last samples, bounded by count and by age. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "base/clock.h"

namespace bitmill {

struct WindowLimits {
  int64_t max_samples = 10'000;  // at least 1
  int64_t max_age_ns = int64_t{86'400} * 1'000'000'000;
};

template <typename Sample>
class RollingWindow {
 public:
  struct Timed {
    MonotonicNanos at_ns = 0;
    Sample sample;
  };

  explicit RollingWindow(const WindowLimits& limits) : limits_(limits) {}

  // Times do not go back.
  void Add(MonotonicNanos now, Sample sample) {
    samples_.push_back({now, std::move(sample)});
    Forget(now);
  }
  // Drops what is too old, and the oldest of what is too much.
  void Forget(MonotonicNanos now) {
    while (!samples_.empty() && (static_cast<int64_t>(samples_.size()) > limits_.max_samples ||
                                 now - samples_.front().at_ns > limits_.max_age_ns)) {
      samples_.pop_front();
    }
  }
  // As of the last Add or Forget, oldest first.
  const std::deque<Timed>& samples() const { return samples_; }

 private:
  const WindowLimits limits_;
  std::deque<Timed> samples_;
};

}  // namespace bitmill
