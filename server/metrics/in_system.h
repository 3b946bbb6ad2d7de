// The number of requests in the system, averaged over time, for Little's law: arrivals and
// departures are counted with their times, independently of the latencies that are recorded.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace bitmill {

// One word holds the number of requests (18 bits) and the sum of departure times minus arrival
// times (46 bits of nanoseconds, modulo): N requests since time 0 have spent sum + N * now. Both
// change together, so that a reader never sees one without the other.
class InSystem {
 public:
  struct Reading {
    int64_t count = 0;
    uint64_t sum_ns = 0;  // modulo 2^46
    MonotonicNanos at_ns = 0;
  };

  void Enter(MonotonicNanos now) { Change(1, -static_cast<uint64_t>(now)); }
  void Leave(MonotonicNanos now) { Change(-1, static_cast<uint64_t>(now)); }

  Reading Read(const Clock& clock) const {
    const MonotonicNanos now = clock.Now();
    const uint64_t word = word_.load(std::memory_order_relaxed);
    return {
        .count = static_cast<int64_t>(word >> kTimeBits), .sum_ns = word & kTimeMask, .at_ns = now};
  }

  // The average between two readings. Less than 19 hours of requests' time may lie between them.
  static double Mean(const Reading& earlier, const Reading& later) {
    const MonotonicNanos elapsed = later.at_ns - earlier.at_ns;
    if (elapsed <= 0) return static_cast<double>(later.count);
    const uint64_t spent =
        (later.sum_ns + static_cast<uint64_t>(later.count) * static_cast<uint64_t>(later.at_ns) -
         earlier.sum_ns -
         static_cast<uint64_t>(earlier.count) * static_cast<uint64_t>(earlier.at_ns)) &
        kTimeMask;
    return static_cast<double>(spent) / static_cast<double>(elapsed);
  }

 private:
  static constexpr int kTimeBits = 46;
  static constexpr uint64_t kTimeMask = (uint64_t{1} << kTimeBits) - 1;

  void Change(int64_t count, uint64_t time) {
    uint64_t word = word_.load(std::memory_order_relaxed);
    uint64_t changed;
    do {
      changed = (((word >> kTimeBits) + static_cast<uint64_t>(count)) << kTimeBits) |
                ((word + time) & kTimeMask);
    } while (!word_.compare_exchange_weak(word, changed, std::memory_order_relaxed));
  }

  std::atomic<uint64_t> word_{0};
};

}  // namespace bitmill
