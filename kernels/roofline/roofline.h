// What this machine can do at most: the ceilings that shares are stated against.
//
// A product is one (weight, activation) pair that is multiplied and accumulated. Compute ceilings
// are loops in registers (lookups read their tables, which are part of it), bandwidths are plain
// reads of a buffer that fits the level.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "base/aligned_buffer.h"
#include "kernels/isa.h"

namespace bitmill {

enum class Ceiling : uint8_t {
  kBit,          // 1 x 1 bit, the best form known for the level
  kBitPopcount,  // 1 x 1 bit, exclusive or and popcount
  kTernaryBit,   // ternary weights x 1 bit, the best form known for the level
  kTwoBit,       // 2 x 2 bits, the best form known for the level
  kLowBitInt8,   // low-bit weights that were expanded to bytes x 8 bits
  kFp32,         // fused multiply-add, or a product and a sum without it
  kReadL1,
  kReadL2,
  kReadL3,
  kReadDram,
};
inline constexpr int kCeilingCount = 10;

struct CeilingInfo {
  Ceiling ceiling;
  const char* key;    // "bit_macs_per_s"
  const char* about;  // "1 x 1 bit products, best form"
  const char* unit;   // "MAC/s" or "B/s"
};
// In the order of the enumerators.
const std::array<CeilingInfo, kCeilingCount>& CeilingInfos();

inline const char* CeilingKey(Ceiling ceiling) {
  return CeilingInfos()[static_cast<size_t>(ceiling)].key;
}

struct Roofline {
  Isa level = Isa::kRef;
  int threads = 1;
  std::array<double, kCeilingCount> per_s = {};  // of all threads together
  const char* bit_form = nullptr;                // how kBit is reached; static storage

  double operator[](Ceiling ceiling) const { return per_s[static_cast<size_t>(ceiling)]; }
  double& operator[](Ceiling ceiling) { return per_s[static_cast<size_t>(ceiling)]; }
};

// One ceiling, a burst at a time, so that it can be measured in turn with what is held against it:
// a neighbour on the same core, or another clock, then slows both. Not thread-safe; several loops
// may run at once, each on its thread.
class CeilingLoop {
 public:
  // `level` must be one that this machine has. With `threads` above 1 the working sets are those of
  // so many loops side by side. A reading loop goes over `bytes` bytes again and again, up to 256
  // MiB; 0: as many as its level is sure to hold. Takes some milliseconds.
  CeilingLoop(Isa level, Ceiling ceiling, int threads = 1, int64_t bytes = 0);

  // Runs about a millisecond; returns the products or bytes it did.
  double Burst() { return run_(turns_) * static_cast<double>(turns_); }
  // The same, a second of the thread's CPU time.
  double BurstRate();

 private:
  AlignedBuffer buffer_;
  std::function<double(int64_t turns)> run_;  // returns the units of one turn
  int64_t turns_ = 1;
};

// The best bursts: of CPU time with one thread, of wall time with more. Takes about `seconds`, 0.1
// or more. `level` must be one that this machine has.
Roofline MeasureRoofline(Isa level, double seconds, int threads = 1);

// The level that a working set of `bytes`, read again and again, is read from: the smallest cache
// that holds it.
Ceiling ReadLevel(double bytes);

}  // namespace bitmill
