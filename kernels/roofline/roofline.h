// What one core of this machine can do at most: the ceilings that shares are stated against.
//
// A product is one (weight, activation) pair that is multiplied and accumulated. Compute ceilings
// are loops in registers (the lookup form reads its tables, which are part of it), bandwidths are
// plain reads of a buffer that fits the level. Time is the thread's CPU time and the best of many
// bursts of about a millisecond counts, so other load on the machine hardly matters.
#pragma once

#include "kernels/isa.h"

namespace bitmill {

struct Roofline {
  double bit_macs_per_s;           // 1 x 1 bit, the best form known for the level
  double bit_popcount_macs_per_s;  // 1 x 1 bit, exclusive or and popcount; at most the line above
  double low_bit_int8_macs_per_s;  // low-bit weights expanded to bytes, times 8-bit activations
  double fp32_macs_per_s;          // fused multiply-add, or a product and a sum without it
  double l1_bytes_per_s, l2_bytes_per_s, l3_bytes_per_s, dram_bytes_per_s;
  const char* bit_form;  // how bit_macs_per_s was reached; static storage
};

// `level` must be one that this machine has. Takes about `seconds` of CPU time, 0.1 or more, on the
// calling thread, and up to 256 MiB while it runs.
Roofline MeasureRoofline(Isa level, double seconds);

// Bytes per second of reads that go over a working set of `bytes` again and again: that of the
// smallest cache that holds it.
double ReadCeiling(const Roofline& roofline, double bytes);

}  // namespace bitmill
