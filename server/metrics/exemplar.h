// The newest request of a histogram's bucket that belonged to a trace: from a high quantile on a
// dashboard it is one click to the trace of such a request.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "server/metrics/trace_id.h"

namespace bitmill {

struct Exemplar {
  TraceId trace;
  int64_t value = 0;  // in the histogram's unit of recording
  int64_t unix_millis = 0;
};

// A place for one. A writer that meets another one gives up: both are as new as the other. Readers
// look at the version before and after, and skip what changed meanwhile. Thread-safe, never waits;
// about 15 ns.
class ExemplarSlot {
 public:
  void Store(const Exemplar& exemplar) {
    uint32_t version = version_.load(std::memory_order_relaxed);
    if (version % 2 == 1 ||
        !version_.compare_exchange_strong(version, version + 1, std::memory_order_acquire)) {
      return;
    }
    // Released one by one, so that a reader that sees any of them sees the odd version too.
    high_.store(exemplar.trace.high, std::memory_order_release);
    low_.store(exemplar.trace.low, std::memory_order_release);
    value_.store(exemplar.value, std::memory_order_release);
    unix_millis_.store(exemplar.unix_millis, std::memory_order_release);
    version_.store(version + 2, std::memory_order_release);
  }

  // Nothing when nothing was stored, or while it is.
  std::optional<Exemplar> Load() const {
    const uint32_t version = version_.load(std::memory_order_acquire);
    if (version == 0 || version % 2 == 1) return std::nullopt;
    Exemplar exemplar;
    exemplar.trace.high = high_.load(std::memory_order_acquire);
    exemplar.trace.low = low_.load(std::memory_order_acquire);
    exemplar.value = value_.load(std::memory_order_acquire);
    exemplar.unix_millis = unix_millis_.load(std::memory_order_acquire);
    if (version_.load(std::memory_order_relaxed) != version) return std::nullopt;
    return exemplar;
  }

 private:
  std::atomic<uint32_t> version_{0};  // odd while somebody writes
  std::atomic<uint64_t> high_{0}, low_{0};
  std::atomic<int64_t> value_{0}, unix_millis_{0};
};

}  // namespace bitmill
