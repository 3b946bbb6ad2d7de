// Kernels on pruned weights: the sparse form against the dense one, and where they break even.
//
// A convolution 3x3 of 14x14x256, a line of it, and a vector times 4096x4096; of each group of
// output channels so many blocks of weights (those that a list names), chosen at random, are left.
// Both forms have the same weights and the same result, which is compared with the reference before
// it is timed. They take turns, a millisecond each, in CPU time of the calling thread; medians of
// the ratios count.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/isa.h"

namespace bitmill {

struct SparsePoint {
  double density = 0;  // blocks left / all
  double speed = 0;    // time of the dense form / time of the sparse one
  double spread = 0;   // between the quartiles of the speed, as a part of the median
};

struct SparseRecord {
  std::string name;   // of the kernel: "bconv_avx2"
  std::string kind;   // "sparse 1 x 1 bit conv"
  std::string shape;  // "14x14x256 3x3"
  Isa isa = Isa::kRef;
  int32_t group_channels = 0;       // outputs that share a list
  std::vector<SparsePoint> points;  // by density, ascending
  double break_even = 0;  // the density at which both take as long, 1 where sparse is never slower
  double table_break_even = 0;  // what the kernel's table says, which the compiler goes by
  bool right = false;           // same outputs as the reference; a wrong kernel is not timed
};

struct SparseSuiteOptions {
  Isa isa = BestIsa();    // the highest level to run; this machine must have it
  bool only_best = true;  // of each kind the kernel that `isa` selects; otherwise all it allows
  std::string filter;     // only records whose name, kind or shape contains it
  std::vector<double> densities = {0.1, 0.25, 0.5, 0.75, 1.0};
  int pairs = 31;        // of dense and sparse bursts, a point, at least
  double seconds = 0.1;  // of measuring, a point, at least
  // Called before each record with the part that is done (0 to 1) and what comes; may be empty.
  std::function<void(double done, const std::string& label)> progress;
};

// Thread-safe; other load on the machine costs nothing but time.
std::vector<SparseRecord> RunSparseSuite(const SparseSuiteOptions& options);

}  // namespace bitmill
