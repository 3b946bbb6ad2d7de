// Random numbers of a seed, the same on every platform (the distributions of <random> are not).
#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace bitmill {

class RandomNumbers {
 public:
  explicit RandomNumbers(uint64_t seed) : engine_(seed) {}

  double Uniform() {                               // 0 to 1, both excluded
    constexpr double kSteps = 9007199254740992.0;  // 2^53
    return (static_cast<double>(engine_() >> 11) + 0.5) / kSteps;
  }
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  double Exponential() { return -std::log(Uniform()); }
  double Normal() {  // Box and Muller
    constexpr double kTurn = 6.283185307179586;
    return std::sqrt(2 * Exponential()) * std::cos(kTurn * Uniform());
  }

 private:
  std::mt19937_64 engine_;  // its numbers are fixed by the standard
};

}  // namespace bitmill
