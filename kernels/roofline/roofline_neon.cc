// Loops in assembly, so that they are what they say: no load, copy or spill beside those written.
#include <arm_neon.h>
#include <stdint.h>

#include "kernels/roofline/roofline_loops.h"

// clang-format off
#define BITMILL_NEON_CLOBBERS "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", \
  "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v30", "v31"

namespace bitmill {

// Exclusive or, bits of each byte, bytes summed.
int64_t BitPopcountMacsNeon(int64_t turns) {
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n"
      "eor v24.16b, v30.16b, v31.16b\n cnt v25.16b, v24.16b\n"
      "add v\\i\\().16b, v\\i\\().16b, v25.16b\n"
      ".endr\n"
      "subs %0, %0, #1\n b.ne 1b\n"
      : "+r"(turns) : : BITMILL_NEON_CLOBBERS);
  return 8 * 128;
}

// The same with the places of weight 0 cleared.
int64_t TernaryBitMacsNeon(int64_t turns) {
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n"
      "eor v24.16b, v30.16b, v31.16b\n and v24.16b, v24.16b, v23.16b\n"
      "cnt v25.16b, v24.16b\n add v\\i\\().16b, v\\i\\().16b, v25.16b\n"
      ".endr\n"
      "subs %0, %0, #1\n b.ne 1b\n"
      : "+r"(turns) : : BITMILL_NEON_CLOBBERS);
  return 8 * 128;
}

// Eight products into 16 bits.
int64_t Int8MacsNeon(int64_t turns) {
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19\n"
      "smlal v\\i\\().8h, v30.8b, v31.8b\n"
      ".endr\n"
      "subs %0, %0, #1\n b.ne 1b\n"
      : "+r"(turns) : : BITMILL_NEON_CLOBBERS);
  return 12 * 8;
}

int64_t FloatMacsNeon(int64_t turns) {
  __asm__ volatile(
      "movi v30.4s, #0\n movi v31.4s, #0\n"
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19\n"
      "fmla v\\i\\().4s, v30.4s, v31.4s\n"
      ".endr\n"
      "subs %0, %0, #1\n b.ne 1b\n"
      : "+r"(turns) : : BITMILL_NEON_CLOBBERS);
  return 12 * 4;
}

void ReadNeon(const uint8_t* data, int64_t bytes) {
  int64_t turns = bytes / 128;
  if (turns == 0) return;
  __asm__ volatile(
      "1:\n"
      "ld1 {v0.16b, v1.16b, v2.16b, v3.16b}, [%0], #64\n"
      "ld1 {v4.16b, v5.16b, v6.16b, v7.16b}, [%0], #64\n"
      "subs %1, %1, #1\n b.ne 1b\n"
      : "+r"(data), "+r"(turns) : : BITMILL_NEON_CLOBBERS);
}

}  // namespace bitmill
