// CPU time of a call, for the programs that say what the analysis costs. Not wall time, and the
// median and the smallest of several rounds: other work on the machine matters little then.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace bitmill {

struct Cost {
  double median = 0, least = 0;  // nanoseconds
};

// Of a call; `round` makes `calls` of them. `between` is called after each round, untimed.
template <class Round, class Between>
Cost CostOf(int rounds, int calls, const Round& round, const Between& between) {
  std::vector<double> costs;
  for (int i = 0; i < rounds; ++i) {
    const int64_t begin = ThreadCpuNanos();
    round();
    costs.push_back(static_cast<double>(ThreadCpuNanos() - begin) / calls);
    between();
  }
  std::sort(costs.begin(), costs.end());
  return {costs[costs.size() / 2], costs.front()};
}
template <class Round>
Cost CostOf(int rounds, int calls, const Round& round) {
  return CostOf(rounds, calls, round, [] {});
}

// The compiler must have made the value.
template <class T>
void Keep(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

}  // namespace bitmill
