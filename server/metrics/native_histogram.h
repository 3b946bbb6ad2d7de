// Durations counted finely enough that no quantile is off by more than 4.5 %: the buckets are those
// of Prometheus' native histograms with schema 4, so that they are exported as they are, and adding
// those of several servers is exact.
//
// Bucket i holds (2^((i-1)/16), 2^(i/16)] seconds: 16 of them double. What is no longer than
// 2^-20 s = 0.95 us counts as zero; what is longer than 2^8 s = 256 s falls into the last bucket.
// 449 counters, 3.6 KiB.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace bitmill {

inline constexpr int kNativeSchema = 4;
inline constexpr int kNativePerOctave = 1 << kNativeSchema;
inline constexpr int kNativeFirstExponent = -20;  // 2^this second: the zero bucket ends
inline constexpr int kNativeLastExponent = 8;
inline constexpr double kNativeZeroSeconds = 1.0 / (1 << 20);
inline constexpr size_t kNativeBuckets =  // the zero bucket is the first
    1 + static_cast<size_t>((kNativeLastExponent - kNativeFirstExponent) * kNativePerOctave);

// Prometheus' index of the bucket at `place` > 0 of the array.
constexpr int NativeIndex(size_t place) {
  return static_cast<int>(place) + kNativeFirstExponent * kNativePerOctave;
}

namespace native_internal {

inline constexpr std::array<double, kNativePerOctave + 1> kBounds = {  // 2^(j/16)
    1.0,
    1.0442737824274138,
    1.0905077326652577,
    1.1387886347566916,
    1.189207115002721,
    1.241857812073484,
    1.2968395546510096,
    1.3542555469368927,
    1.4142135623730951,
    1.4768261459394993,
    1.5422108254079407,
    1.6104903319492543,
    1.681792830507429,
    1.7562521603732995,
    1.8340080864093424,
    1.9152065613971474,
    2.0};

// Of a mantissa in [1 + i/32, 1 + (i+1)/32): the first bound that is not below its begin. Bounds
// are further apart than 1/32, so that this one or the next is the mantissa's.
inline constexpr std::array<uint8_t, 32> kGuess = [] {
  std::array<uint8_t, 32> guess{};
  for (size_t i = 0; i < guess.size(); ++i) {
    while (kBounds[guess[i]] < 1.0 + static_cast<double>(i) / 32) ++guess[i];
  }
  return guess;
}();

}  // namespace native_internal

// Where a duration is counted; no logarithm: the exponent is that of the double, the rest a table.
inline size_t NativePlace(int64_t ns) {
  const double seconds = static_cast<double>(ns) / 1e9;
  if (seconds <= kNativeZeroSeconds) return 0;
  constexpr int kMantissaBits = 52;
  constexpr uint64_t kMantissa = (uint64_t{1} << kMantissaBits) - 1;
  const uint64_t bits = std::bit_cast<uint64_t>(seconds);
  const int exponent = static_cast<int>(bits >> kMantissaBits) - 1023;
  const double mantissa = std::bit_cast<double>((bits & kMantissa) | (uint64_t{1023} << 52));
  const size_t guess = native_internal::kGuess[(bits & kMantissa) >> (kMantissaBits - 5)];
  const size_t in_octave = guess + (mantissa > native_internal::kBounds[guess] ? 1 : 0);
  const size_t place =
      static_cast<size_t>((exponent - kNativeFirstExponent) * kNativePerOctave) + in_octave;
  return place < kNativeBuckets ? place : kNativeBuckets - 1;
}

using NativeCounts = std::array<int64_t, kNativeBuckets>;

// Thread-safe.
class NativeHistogram {
 public:
  void Add(int64_t ns) { counts_[NativePlace(ns)].fetch_add(1, std::memory_order_relaxed); }
  void AddTo(NativeCounts& counts) const {
    for (size_t i = 0; i < kNativeBuckets; ++i) {
      counts[i] += counts_[i].load(std::memory_order_relaxed);
    }
  }

 private:
  std::array<std::atomic<int64_t>, kNativeBuckets> counts_{};
};

}  // namespace bitmill
