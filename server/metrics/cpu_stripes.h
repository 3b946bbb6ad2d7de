// Counters that every request touches have a copy for each CPU, on cache lines of its own.
#pragma once

#include <sched.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <thread>

namespace bitmill {

// How many copies: a power of two, at most 16.
inline size_t CpuStripes() {
  constexpr unsigned kMaxStripes = 16;
  return std::bit_ceil(std::clamp(std::thread::hardware_concurrency(), 1U, kMaxStripes));
}

// The copy of the CPU that this thread is on; `stripes` is a power of two. Read from a page that
// the kernel shares with the thread: about a nanosecond. -1, on a kernel that cannot tell, becomes
// a valid index too. A thread may be moved at any time, so that copies still need atomic access.
inline size_t MyCpuStripe(size_t stripes) {
  return static_cast<size_t>(sched_getcpu()) & (stripes - 1);
}

}  // namespace bitmill
