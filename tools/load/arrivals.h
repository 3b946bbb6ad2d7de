// When an open loop sends: a schedule that does not depend on how fast answers come back.
#pragma once

#include <cstdint>
#include <random>

namespace bitmill {

enum class ArrivalKind { kPoisson, kConstant };

// Times of requests in nanoseconds after the start. The same kind, rate and seed give the same
// schedule. Not thread-safe.
class ArrivalSchedule {
 public:
  // `per_second` is positive and finite.
  ArrivalSchedule(ArrivalKind kind, double per_second, uint64_t seed);

  // The time of the next request; never decreases.
  int64_t NextNanos();

 private:
  ArrivalKind kind_;
  double interval_ns_;
  double time_ns_ = 0.0;
  std::mt19937_64 random_;
};

}  // namespace bitmill
