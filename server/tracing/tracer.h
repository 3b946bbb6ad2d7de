// Decides which requests are traced, and gives them their identifiers.
//
// A caller that sends a traceparent has decided: its sampled flag is obeyed. Of the other requests
// a share is sampled, each the beginning of a trace of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "server/tracing/trace_context.h"
#include "server/tracing/traced_request.h"

namespace bitmill {

// Where traced requests go when they are answered.
class TraceSink {
 public:
  virtual ~TraceSink() = default;
  // Never waits for anything slower than a short lock; may drop the request. Thread-safe.
  virtual void Add(TracedRequest request) = 0;
};

class Tracer {
 public:
  // `ratio` of the requests without a traceparent are sampled, 0 to 1. `seed` decides all
  // identifiers: another one for each process. Borrows the others.
  Tracer(double ratio, uint64_t seed, TraceSink& sink, const Clock& clock);

  // Null: the request is not traced. Thread-safe; 10 ns when it is not, an allocation when it is.
  std::unique_ptr<TracedRequest> Begin(const std::optional<TraceContext>& caller,
                                       const char* method);
  // Takes the request, with all but unix_minus_monotonic_ns filled in, to the sink. Thread-safe.
  void End(std::unique_ptr<TracedRequest> request);

 private:
  uint64_t Next();  // random, never 0

  const uint64_t threshold_;  // what is drawn below it is sampled
  const bool all_;
  const uint64_t seed_;
  TraceSink& sink_;
  const Clock& clock_;
  std::atomic<uint64_t> draws_{0};
};

// The `index`th of a sequence of random numbers (SplitMix64; Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014). Different indices give different
// numbers.
inline uint64_t SplitMix64(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

}  // namespace bitmill
