// What the files of the kernel suite share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/isa.h"
#include "kernels/roofline/suite_cases.h"

namespace bitmill {

// The same numbers each time.
template <typename T>
std::vector<T> Random(int64_t count) {
  constexpr uint32_t kSeed = 20;
  std::mt19937_64 random(kSeed);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(random());
  return values;
}

// The kernels of a table to run, best first.
template <typename Kernel>
std::vector<Kernel> Chosen(const Kernel* table, int count, Isa isa, bool only_best) {
  std::vector<Kernel> kernels;
  for (int i = 0; i < count; ++i) {
    if (IsaAllows(isa, table[i].isa)) kernels.push_back(table[i]);
    if (only_best && !kernels.empty()) break;
  }
  return kernels;
}

// What surrounds the products: sign and pack, quantization, pooling.
void AddHelperGroups(Isa isa, bool only_best, const std::vector<int64_t>& batches,
                     std::vector<SuiteGroup>& groups);
// Depthwise convolutions of bits.
void AddDepthwiseGroups(Isa isa, bool only_best, const std::vector<int64_t>& batches,
                        std::vector<SuiteGroup>& groups);

}  // namespace bitmill
