// Counting bits in vectors of 8 words without a count for each of them. Words are added bit by bit
// into planes (ones, twos, fours) with full adders, and only what overflows a plane is counted
// (Harley and Seal): of 8 words one. A full adder is 3 to 5 operations and a count, where the device
// has no instruction for it, 7 to 12.

// 512-bit registers where compilers for x86 would halve vectors: the kernels' own choice.
#ifdef __has_attribute
#if __has_attribute(min_vector_width)
#define BITMILL_WIDE __attribute__((min_vector_width(512)))
#endif
#endif
#ifndef BITMILL_WIDE
#define BITMILL_WIDE
#endif

// Bits of each word. The text that LLVM takes for a count: drivers' popcount of vectors may be made
// of shorter ones (PoCL 3.1: of two words at a time).
BITMILL_FUNCTION
ulong8 bm_count8(ulong8 x) {
  x = x - ((x >> 1) & (ulong)0x5555555555555555);
  x = (x & (ulong)0x3333333333333333) + ((x >> 2) & (ulong)0x3333333333333333);
  x = (x + (x >> 4)) & (ulong)0x0f0f0f0f0f0f0f0f;
  return (x * (ulong)0x0101010101010101) >> 56;
}

// plane += b + c, bit by bit; `carry` is worth twice as much.
#define BITMILL_ADD(plane, carry, b, c)              \
  {                                                  \
    const ulong8 b_ = (b), c_ = (c), plane_ = plane; \
    carry = (b_ & c_) | (plane_ & (b_ | c_));        \
    plane = b_ ^ c_ ^ plane_;                        \
  }
