// The problems of the kernel suite.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "kernels/roofline/roofline.h"

namespace bitmill {

struct SuiteCase {
  std::string name;  // of the kernel
  Isa isa = Isa::kRef;
  double macs = 0;                     // of one run; 0: bytes are what counts
  Ceiling arithmetic = Ceiling::kBit;  // bounds the products
  double read_bytes = 0;               // that one run must read at least once
  double footprint = 0;                // bytes that one run touches
  std::function<bool()> right;         // runs once, compares with the reference
  std::function<void()> run;
};

// Makes the cases of one shape, one a kernel; their data is made with them and shared.
struct SuiteGroup {
  std::string kind, shape;
  int64_t batch = 1;
  std::function<std::vector<SuiteCase>()> make;
};

// All groups for `batches`; kernels that `isa` allows, or only the one that it selects.
std::vector<SuiteGroup> SuiteGroups(Isa isa, bool only_best, const std::vector<int64_t>& batches);

}  // namespace bitmill
