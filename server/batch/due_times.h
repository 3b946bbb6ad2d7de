// When those want their answers who wait for the same batch as whoever comes next: nobody may join
// who makes one of them late. Who will be late whatever comes is no longer considered: for such a
// one's sake nobody is refused.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "base/clock.h"

namespace bitmill {

class DueTimes {
 public:
  static constexpr MonotonicNanos kNone = std::numeric_limits<MonotonicNanos>::max();

  // O(1) when `due` is later than all before it, as it is without deadlines.
  void Add(MonotonicNanos due) {
    dues_.push_back(due);
    std::push_heap(dues_.begin(), dues_.end(), std::greater<>());
  }
  void Clear() { dues_.clear(); }

  // The earliest of those that a batch that ends at `finish` answers in time; kNone when there is
  // none. Earlier ones are forgotten.
  MonotonicNanos EarliestInTime(MonotonicNanos finish) {
    while (!dues_.empty() && dues_.front() < finish) {
      std::pop_heap(dues_.begin(), dues_.end(), std::greater<>());
      dues_.pop_back();
    }
    return dues_.empty() ? kNone : dues_.front();
  }

 private:
  std::vector<MonotonicNanos> dues_;  // a heap, the earliest first
};

}  // namespace bitmill
