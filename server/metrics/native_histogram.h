// Durations in the buckets of Prometheus' native histograms, so that they are exported as they are
// and adding those of several servers is exact.
//
// With schema s there are 2^s buckets to a power of two: bucket i holds (2^((i-1)/2^s), 2^(i/2^s)]
// seconds.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bitmill {

namespace native_internal {

inline constexpr int kFineSchema = 4;                // the finest that is told apart
inline constexpr std::array<double, 17> kBounds = {  // 2^(j/16)
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

// The index in schema 4 of the bucket that holds this many seconds, more than 0. No logarithm: the
// exponent is that of the double, the rest a table.
constexpr int FineIndex(double seconds) {
  constexpr int kMantissaBits = 52;
  constexpr uint64_t kMantissa = (uint64_t{1} << kMantissaBits) - 1;
  const uint64_t bits = std::bit_cast<uint64_t>(seconds);
  const int exponent = static_cast<int>(bits >> kMantissaBits) - 1023;
  const double mantissa = std::bit_cast<double>((bits & kMantissa) | (uint64_t{1023} << 52));
  const size_t guess = kGuess[(bits & kMantissa) >> (kMantissaBits - 5)];
  return exponent * (1 << kFineSchema) + static_cast<int>(guess) +
         (mantissa > kBounds[guess] ? 1 : 0);
}

}  // namespace native_internal

// The buckets of one kind of histogram. What is no longer than 2^kFirstExponent seconds counts as
// zero, what is longer than 2^kLastExponent falls into the last bucket.
template <int kSchemaNumber, int kFirstExponent, int kLastExponent>
struct NativeBuckets {
  static_assert(kSchemaNumber >= 0 && kSchemaNumber <= native_internal::kFineSchema);
  static_assert(kFirstExponent > -31 && kFirstExponent < 0 && kLastExponent > kFirstExponent);

  static constexpr int kSchema = kSchemaNumber;
  static constexpr int kPerOctave = 1 << kSchema;
  static constexpr double kZeroSeconds = 1.0 / (1 << -kFirstExponent);
  static constexpr size_t kCount =  // the zero bucket is the first
      1 + static_cast<size_t>((kLastExponent - kFirstExponent) * kPerOctave);

  // Prometheus' index of the bucket at `place` > 0.
  static constexpr int Index(size_t place) {
    return static_cast<int>(place) + kFirstExponent * kPerOctave;
  }

  // Where a duration is counted; grows with it.
  static constexpr size_t Place(int64_t ns) {
    const double seconds = static_cast<double>(ns) / 1e9;
    if (seconds <= kZeroSeconds) return 0;
    constexpr int kCoarser = native_internal::kFineSchema - kSchema;
    const int index =  // rounded up
        (native_internal::FineIndex(seconds) + (1 << kCoarser) - 1) >> kCoarser;
    const auto place = static_cast<size_t>(index - kFirstExponent * kPerOctave);
    return place < kCount ? place : kCount - 1;
  }
};

// No quantile is off by more than 4.5 %; from 0.95 us to 256 s, 449 buckets.
using RequestBuckets = NativeBuckets<4, -20, 8>;
// By 19 % at most; from 60 ns, as some stages take less than a microsecond, to 64 s, 121 buckets.
using StageBuckets = NativeBuckets<2, -24, 6>;

// Counts of such buckets, for the page.
struct NativeCounts {
  int schema = 0;
  double zero_seconds = 0;
  int first_index = 0;          // of counts[1]
  std::vector<int64_t> counts;  // the zero bucket first
};

}  // namespace bitmill
