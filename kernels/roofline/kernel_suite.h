// Every kernel that this machine can run, on the shapes of real layers, against the ceilings of
// kernels/roofline/roofline.h.
//
// Convolutions 3x3 of 56x56x64, 28x28x128, 14x14x256 and 7x7x512 (as many channels out as in,
// stride 1), products 1024x1024x1024 and a vector times 4096x4096 and 4096x11008; 1-bit and ternary
// weights with 1-bit activations, ternary weights with 8-bit ones (there also a vector times
// 16384x65536, more than caches hold); sign and pack, and pooling. Each result is compared with the
// reference before it is timed. Kernel and ceiling take turns, a millisecond each, in CPU time of
// the calling thread; medians count.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "kernels/roofline/roofline.h"

namespace bitmill {

struct KernelRecord {
  std::string name;   // of the kernel: "bconv_avx2"
  std::string kind;   // "1x1 conv", "ternary x int8 dense", "sign pack", ...
  std::string shape;  // "56x56x64 3x3", "4096x4096"
  int64_t batch = 1;
  int threads = 1;
  Isa isa = Isa::kRef;
  double value = 0.0;
  std::string unit;               // "GMAC/s" or "GB/s"
  double ceiling = 0.0;           // same unit: the lower of arithmetic and reading
  Ceiling bound = Ceiling::kBit;  // which one that is
  double share = 0.0;             // median of value / ceiling, each pair measured side by side
  double spread = 0.0;            // between the quartiles of the shares, as a part of the median
  bool right = false;             // same outputs as the reference; a wrong kernel is not timed
};

struct KernelSuiteOptions {
  Isa isa = BestIsa();    // the highest level to run; this machine must have it
  bool only_best = true;  // of each kind the kernel that `isa` selects; otherwise all it allows
  std::vector<int64_t> batches = {1, 8};
  std::string filter;                 // only records whose name, kind or shape contains it
  int pairs = 31;                     // of kernel and ceiling, a record, at least
  double seconds = 0.2;               // of measuring, a record, at least
  std::map<Isa, Roofline> rooflines;  // ceilings that are known; those of other levels are measured
  double roofline_seconds = 1.0;      // of measuring the ceilings, a level
  // Called before each record with the part that is done (0 to 1) and what comes; may be empty.
  std::function<void(double done, const std::string& label)> progress;
};

// Uses up to 600 MB. Thread-safe; other load on the machine costs nothing but time.
std::vector<KernelRecord> RunKernelSuite(const KernelSuiteOptions& options);

}  // namespace bitmill
