// Of the bits of each pixel those that masks select, next to each other in the same order: the
// channels that a pruned layer still reads.
//
//   bit i of the output = the bit where `masks` has its i-th set bit
//
// A pixel is read as `words` 64-bit words; ceil(set bits of all masks / 64) words are written, zero
// behind the last bit. At least one bit is set. Reentrant; allocates nothing. dst overlaps not src.
#pragma once

#include <stdint.h>

namespace bitmill {

struct GatherArgs {
  const uint64_t* src;
  int64_t src_pixel;  // words from one pixel to the next
  int32_t pixels, words;
  const uint64_t* masks;  // [words]
  uint64_t* dst;
  int64_t dst_pixel;  // words
};

using GatherFn = void (*)(const GatherArgs& args);

}  // namespace bitmill
